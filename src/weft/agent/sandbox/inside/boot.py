"""The first that runs where no weft is installed: a package made of the sources that were sent along.

`launch.executor_as_text` puts a call of `install` behind this text, and sends it to a Python that waits.
"""

import sys
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

OLDEST = (3, 10)


class Sent:
    """An importer of modules by their text."""

    def __init__(self, sources: "dict[str, str]") -> None:
        self._sources = sources

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "ModuleSpec | None":
        if name not in self._sources:
            return None
        return ModuleSpec(name, self, is_package=name == "inside")  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: "ModuleType") -> None:
        code = compile(self._sources[module.__name__], f"<{module.__name__}>", "exec")
        exec(code, module.__dict__)


def install(sources: "dict[str, str]") -> None:
    """Let what was sent be imported."""
    if sys.version_info < OLDEST:
        found, needed = (".".join(map(str, each[:2])) for each in (sys.version_info, OLDEST))
        sys.exit(f"python3 is {found} here, and {needed} is the oldest that will do")
    sys.meta_path.insert(0, Sent(sources))
