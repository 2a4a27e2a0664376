"""How a person stops a session: at its next event, and at once where a model or a command is waited for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weft.agent.sandbox import Sandbox


class Stop(Exception):  # an interruption is no error
    """Raised, with the reason, where the session can stop at once."""


class Interruption:
    """Whether a person has asked to stop. `ask` may be called from any thread, and by a signal's handler: it
    takes no lock."""

    def __init__(self) -> None:
        self._asked = False
        self._ends: dict[object, Callable[[], object]] = {}

    def ask(self) -> None:
        """Stop what is waited for, and let the session end at its next event."""
        self._asked = True
        for end in list(self._ends.values()):
            end()

    def forget(self) -> None:
        """A new run begins; nobody has asked to stop it."""
        self._asked = False

    def check(self) -> None:
        """Raise `Stop` if a person has asked to stop."""
        if self._asked:
            raise Stop("the person asked to stop")

    @contextlib.contextmanager
    def ending(self, end: Callable[[], object]) -> Iterator[None]:
        """Call `end` as soon as a person asks to stop, or at once if that has happened; whatever then breaks
        off in this block is a `Stop`."""
        key = object()
        self._ends[key] = end
        try:
            if self._asked:
                end()
            yield
        except Exception:
            self.check()
            raise
        finally:
            del self._ends[key]
        self.check()

    @contextlib.contextmanager
    def ending_commands(self, box: Sandbox) -> Iterator[None]:
        """Close the sandbox as soon as a person asks to stop, with all that runs in it: what was half done
        there is on no record, and a session that is resumed begins its call anew in another one."""

        def end() -> None:
            # Whoever asks may have interrupted the one who waits, and would wait for itself.
            threading.Thread(target=box.close, name="weft-stop", daemon=True).start()

        with self.ending(end):
            yield
