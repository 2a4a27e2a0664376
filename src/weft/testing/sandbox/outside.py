"""What lies outside of a sandbox for the taking, on loopback and in scratch folders of the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from weft.agent.sandbox import Result
from weft.testing.sandbox.attempts import Attempt

TIMEOUT_S = 20.0

_PROGRAM = """
import errno, glob, os, socket, stat, sys
globals().update({values!r})
print("TRYING", flush=True)
try:
{body}
except Exception as error:
    print("REFUSED", repr(error))
else:
    print("REACHED")
"""


class Outside(msgspec.Struct):
    """What lies outside of the sandbox for the taking: files, sockets, a process, a descriptor."""

    folder: Path
    tools: Path
    port: int
    abstract: str
    marker: str
    process: subprocess.Popen[bytes]
    descriptor: int

    def program(self, attempt: Attempt) -> list[str]:
        """The command that makes the attempt."""
        values = {
            "OUTSIDE": str(self.folder),
            "TOOLS": str(self.tools),
            "PORT": self.port,
            "ABSTRACT": self.abstract,
            # Backwards, or the program would find itself.
            "MARKER": self.marker.encode()[::-1],
            "PID": self.process.pid,
            "DESCRIPTOR": self.descriptor,
        }
        body = textwrap.indent(textwrap.dedent("    " + attempt.code.strip("\n ")), "    ")
        if "\n" in attempt.code:
            body = textwrap.indent(textwrap.dedent(attempt.code), "    ")
        return [sys.executable, "-I", "-c", _PROGRAM.format(values=values, body=body)]


@contextlib.contextmanager
def outside_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    """Things to steal and to break, on loopback and below `tmp_path`."""
    folder, tools = tmp_path / "outside", tmp_path / "tools"
    folder.mkdir()
    tools.mkdir()
    (folder / "secret").write_text("treasure")
    (folder / "notes").write_text("notes")
    (tools / "tool").write_text("tool")
    shutil.copy("/usr/bin/id", tools / "setuid-id")
    (tools / "setuid-id").chmod(0o4755)
    monkeypatch.setenv("WEFT_CONTRACT_TOKEN", "treasure")
    marker = new_marker()
    with contextlib.ExitStack() as stack:
        four = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = four.getsockname()[1]
        stack.enter_context(socket.create_server(("::1", port), family=socket.AF_INET6))
        named = stack.enter_context(socket.socket(socket.AF_UNIX))
        # The path may be too long for an address; a descriptor's path is short.
        fd = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, fd)
        named.bind(f"/proc/self/fd/{fd}/socket")
        named.listen()
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract_name = f"weft-{new_marker()}"
        abstract.bind("\0" + abstract_name)
        abstract.listen()
        process = subprocess.Popen(["sleep", marker])
        stack.callback(process.wait)
        stack.callback(process.kill)
        descriptor = os.open(folder / "secret", os.O_RDONLY)
        stack.callback(os.close, descriptor)
        os.set_inheritable(descriptor, True)
        yield Outside(
            folder=folder,
            tools=tools,
            port=port,
            abstract=abstract_name,
            marker=marker,
            process=process,
            descriptor=descriptor,
        )


def run_control(outside: Outside, attempt: Attempt, workspace: Path) -> Result:
    """Make the attempt with nothing in its way."""
    done = subprocess.run(
        outside.program(attempt),
        cwd=workspace,
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        timeout=TIMEOUT_S,
        text=True,
        check=False,
    )
    return Result(exit_code=done.returncode, output=done.stdout, timed_out=False, duration_s=0.0)


def snapshot(outside: Outside) -> list[tuple[str, int, bytes]]:
    """Names, modes and bytes of all that lies outside."""
    found = []
    for top in (outside.folder, outside.tools):
        for path in sorted(top.rglob("*")):
            data = path.read_bytes() if path.is_file() else b""
            found.append((str(path), path.lstat().st_mode, data))
    return found


def new_marker() -> str:
    """Seconds to sleep that no other process has chosen."""
    return f"{3000 + int.from_bytes(os.urandom(2), 'big') % 5000}.{int.from_bytes(os.urandom(6), 'big')}"


def running(marker: str) -> list[int]:
    """Processes of the whole host whose command line holds the marker."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            if marker.encode() in file.read():
                found.append(int(pid))
    return found
