"""`weft sandbox shell`: a shell in a fresh sandbox, for a person or for lines from a pipe."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import typer

from weft.agent.sandbox import Job, Sandbox
from weft.cli.output import note
from weft.cli.sandbox import changed
from weft.cli.sandbox.options import (
    Image,
    Keep,
    Memory,
    Provider,
    ProviderName,
    Timeout,
    Workspace,
    open_sandbox,
)
from weft.core.errors import WeftError

# What a key waits for at most, and others for the sandbox.
_POLL_S: Final = 0.01
_CHUNK_BYTES: Final = 1 << 16
_SHELL: Final = (
    "command -v bash > /dev/null && exec env PS1='(sandbox) \\w\\$ ' bash --norc -i; "
    "exec env PS1='(sandbox) $ ' sh -i"
)
_SHOWN: Final = ("TERM", "COLORTERM")


def shell(
    workspace: Workspace = Path("."),
    timeout: Timeout = 86_400.0,
    memory: Memory = None,
    keep: Keep = False,
    provider: ProviderName = Provider.NAMESPACES,
    image: Image = None,
) -> None:
    """Work on a throw-away copy of a workspace by hand, with no network and no way out.

    On a terminal, the shell has a terminal of its own inside, with job control. Lines from a pipe are run by
    /bin/sh without one. What the shell prints is shown as it is. Its exit code is this one's.

    Example: weft sandbox shell --keep
    """
    with open_sandbox(provider, workspace, memory, image) as box:
        code = (_in_a_terminal if _person_is_there() else _in_lines)(box, timeout)
        box.end_jobs()
        changes = changed.settle(box, keep=keep)
    for line in changed.summary(changes, kept=keep):
        note(line)
    raise typer.Exit(code)


def _person_is_there() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _in_a_terminal(box: Sandbox, timeout_s: float) -> int:
    """Bytes as they are typed, to a terminal inside that knows its size and ends lines by itself."""
    import select
    import termios
    import tty

    from weft.cli.sandbox import relay

    source = Path(relay.__file__).read_text()
    environment = {name: os.environ[name] for name in _SHOWN if name in os.environ}
    job = box.start(
        [sys.executable, "-I", "-S", "-c", source, "/bin/sh", "-c", _SHELL],
        timeout_s=timeout_s,
        environment=environment,
        feed=True,
    )
    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    size = os.get_terminal_size(keys)
    try:
        tty.setraw(keys)
        _feed(job, relay.HEAD.pack(size.lines, size.columns, 0))
        while job.exit_code is None:
            typed = b""
            if select.select([keys], [], [], 0)[0] and not (typed := os.read(keys, _CHUNK_BYTES)):
                break
            # Asked for after the keys, so that what they start finds the size that it has by then.
            known, size = size, os.get_terminal_size(keys)
            if typed or size != known:
                _feed(job, relay.HEAD.pack(size.lines, size.columns, len(typed)) + typed)
            _pass_on(job)
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)
    return job.exit_code or 0


def _in_lines(box: Sandbox, timeout_s: float) -> int:
    job = box.start(["/bin/sh"], timeout_s=timeout_s, feed=True)

    def pass_in() -> None:
        with suppress(WeftError):
            while line := sys.stdin.buffer.readline():
                job.feed(line, timeout_s)
            job.end_input()

    # A daemon: it may wait for a line that never comes when the shell has ended.
    threading.Thread(target=pass_in, daemon=True).start()
    while job.exit_code is None:
        _pass_on(job)
    return job.exit_code


def _feed(job: Job, data: bytes) -> None:
    # What is typed after the end goes nowhere.
    with suppress(WeftError):
        job.feed(data)


def _pass_on(job: Job) -> None:
    said = job.poll(_POLL_S)
    if said.omitted_bytes:
        note(f"[{said.omitted_bytes:,} bytes omitted]")
    sys.stdout.buffer.write(said.data)
    sys.stdout.buffer.flush()
