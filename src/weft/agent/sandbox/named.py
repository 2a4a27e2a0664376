"""Every provider by its name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from weft.agent.sandbox.provider import SandboxProvider
from weft.core.errors import Invalid, NotFound

DEFAULT: Final = "namespaces"
_CLASSES: Final = {
    "namespaces": "Namespaces",
    "bubblewrap": "Bubblewrap",
    "container": "Container",
    "kubernetes": "Kubernetes",
    "unconfined": "Unconfined",
}
NAMES: Final = tuple(_CLASSES)
OF_IMAGES: Final = ("container", "kubernetes")


def named(
    name: str, *, image: str | None = None, environ: Mapping[str, str] | None = None
) -> SandboxProvider:
    """The provider of that name; `image` is for those whose sandboxes are made of one.

    Nothing is started, and nothing imported but what this provider needs.
    """
    if name not in _CLASSES:
        raise NotFound(f"there is no sandbox provider `{name}`", hint=f"name one of {', '.join(NAMES)}")
    given: dict[str, Any] = {"environ": environ}
    if image is not None:
        if name not in OF_IMAGES:
            raise Invalid(f"`{name}` uses no image", hint=f"name one for {' or '.join(OF_IMAGES)}")
        given["image"] = image
    module = importlib.import_module(f"weft.agent.sandbox.{name}")
    provider: SandboxProvider = getattr(module, _CLASSES[name])(**given)
    return provider
