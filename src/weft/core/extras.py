"""Optional dependencies: imported where they are needed, named in one line where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from weft.core.errors import MissingExtra


def require(module: str, extra: str) -> ModuleType:
    """The imported module, or `MissingExtra` that says which extra brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise
        raise MissingExtra(module, extra) from error
