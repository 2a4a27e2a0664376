"""Providers by their names."""

from __future__ import annotations

import subprocess
import sys

import pytest

from weft.agent.sandbox.named import NAMES, OF_IMAGES, named
from weft.agent.sandbox.provider import REQUIRED, Promise
from weft.core.errors import Invalid, NotFound


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_its_providers_own(name: str) -> None:
    provider = named(name, environ={"PATH": "/nowhere"})
    assert provider.name == name
    lacks = {"unconfined": REQUIRED - provider.promises, "kubernetes": {Promise.LANDLOCK}}
    assert REQUIRED - provider.promises == frozenset(lacks.get(name, ()))


def test_a_name_that_is_none_is_told_with_those_that_are() -> None:
    with pytest.raises(NotFound, match=r"`docker`; name one of namespaces, bubblewrap, container"):
        named("docker")


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_for_what_is_made_of_one(name: str) -> None:
    if name in OF_IMAGES:
        assert named(name, image="x").name == name
    else:
        with pytest.raises(Invalid, match="uses no image"):
            named(name, image="x")


def test_naming_one_imports_nothing_of_the_others() -> None:
    code = (
        "import sys\nfrom weft.agent.sandbox.named import named\nnamed('bubblewrap')\n"
        "others = ('httpx', 'websockets', 'weft.agent.sandbox.container')\n"
        "print([name for name in others if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
