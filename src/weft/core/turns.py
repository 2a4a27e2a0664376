"""Short turns: how long a thread that computes may keep the interpreter from one that writes.

LMDB gives the interpreter away at every key it puts. Beside a thread that computes without pause, each key
then costs a whole turn, which is five milliseconds by default: a commit of a hundred keys takes a second.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_SHORT_S: Final = 50e-6
"""Some times what a hand-over costs."""
_lock = threading.Lock()
_wanted = 0
_before_s = 0.0


@contextmanager
def short_turns() -> Iterator[None]:
    """Shorten the turns of all threads of the process, until the last that asked for it is done."""
    global _wanted, _before_s
    with _lock:
        if not _wanted:
            _before_s = sys.getswitchinterval()
            sys.setswitchinterval(min(_SHORT_S, _before_s))
        _wanted += 1
    try:
        yield
    finally:
        with _lock:
            _wanted -= 1
            if not _wanted:
                sys.setswitchinterval(_before_s)
