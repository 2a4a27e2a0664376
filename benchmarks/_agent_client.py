"""The agent's own process for bench_agent_loop: one session against a server, and what it saw of it."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from weft.agent import Agent, Budgets
from weft.agent.models import open_model
from weft.core.clock import SYSTEM_CLOCK
from weft.kv.lmdb import LmdbStore


class Observed(msgspec.Struct):
    """What the agent's process saw. Times are seconds of the monotonic clock, which all processes share."""

    asked_s: list[float] = []
    ended_s: list[float] = []
    prefixes_kept: int = 0
    first_prompt_bytes: int = 0
    rss_bytes: int = 0


class Watched:
    """A model, and when it was asked and its reply had ended."""

    def __init__(self, model: Any) -> None:
        self.name, self.scripted = model.name, model.scripted
        self.context_tokens = model.context_tokens
        self.observed = Observed()
        self._model = model
        self._last: bytes | None = None

    def stream(self, messages: Sequence[Any], tools: Sequence[Any], *options: Any) -> Iterator[Any]:
        self.observed.asked_s.append(SYSTEM_CLOCK.monotonic_s())
        yield from self._model.stream(messages, tools, *options)
        self.observed.ended_s.append(SYSTEM_CLOCK.monotonic_s())
        self._compare(msgspec.json.encode([tools, messages]).removesuffix(b"]]"))

    def _compare(self, prompt: bytes) -> None:
        self.observed.prefixes_kept += self._last is None or prompt.startswith(self._last)
        self.observed.first_prompt_bytes = self.observed.first_prompt_bytes or len(prompt)
        self._last = prompt


def main(url: str, workspace: str, data: str, steps: str) -> None:
    model = Watched(open_model(url))
    store = LmdbStore.open(Path(data))
    agent = Agent.open(
        workspace, model=model, session_store=store, verify="true", budgets=Budgets(steps=int(steps))
    )
    result = agent.run("make the failing test pass")
    assert result.ok, result.reason
    model.observed.rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.buffer.write(msgspec.json.encode(model.observed))


if __name__ == "__main__":
    main(*sys.argv[1:])
