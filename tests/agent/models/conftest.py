"""Models that speak to a scripted server without ever pausing between tries."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from weft.agent.models.wire.chat import ChatFormat
from weft.agent.models.wire.endpoint import Endpoint
from weft.agent.models.wire.messages import MessagesFormat
from weft.agent.models.wire.model import HttpModel
from weft.agent.models.wire.patience import Patience
from weft.agent.models.wire.responses import ResponsesFormat
from weft.testing.model_server import Answer, ModelServer

FORMATS = {"chat": ChatFormat, "responses": ResponsesFormat, "messages": MessagesFormat}


class Hasty(random.Random):
    """Draws the least of every range, so that retries do not wait."""

    def uniform(self, a: float, b: float) -> float:
        return a


Connect = Callable[..., tuple[HttpModel, ModelServer]]


@pytest.fixture(params=sorted(FORMATS))
def wire(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def connect(wire: str) -> Iterator[Connect]:
    """`connect(*answers, **patience)`: a model of the format under test, and the server behind it."""
    with ExitStack() as stack:

        def connected(*answers: Answer, **patience: Any) -> tuple[HttpModel, ModelServer]:
            server = stack.enter_context(ModelServer(answers, format=wire))
            endpoint = Endpoint(
                server.base_url,
                "served",
                name="the model",
                key="key-of-the-test-0123456789",
                key_variable="THE_KEY",
            )
            model = HttpModel(endpoint, FORMATS[wire](), patience=Patience(**patience), rng=Hasty())
            return stack.enter_context(model), server

        yield connected
