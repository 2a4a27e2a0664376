"""Runs inside a sandbox: gives a shell a terminal of its own, fed from one pipe and read through another.

It is sent as text to a Python that has no weft. Each frame on standard input is the size of the person's
terminal, as rows and columns, the length of what was typed, and that; the first is the size alone.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios

HEAD = struct.Struct(">HHI")
_CHUNK_BYTES = 1 << 16


def main() -> None:
    """Run the program of argv in a terminal until it ends, and end as it did."""
    rows, columns, _ = HEAD.unpack(os.read(0, HEAD.size))
    pid, master = pty.fork()
    if pid == 0:
        _resize(0, rows, columns)
        os.execvp(sys.argv[1], sys.argv[1:])
    _relay(master)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.exit(code if code >= 0 else 128 - code)


def _relay(master: int) -> None:
    """Pass on both ways until nobody has the terminal open any more."""
    frames, typed = b"", b""
    while True:
        ready, writable, _ = select.select([0, master], [master] if typed else [], [])
        if writable:
            typed = typed[os.write(master, typed) :]
        if master in ready:
            try:
                os.write(1, os.read(master, _CHUNK_BYTES))
            except OSError:
                return
        if 0 in ready:
            frames += os.read(0, _CHUNK_BYTES)
            while len(frames) >= HEAD.size and len(frames) >= (end := _end(frames)):
                _resize(master, *HEAD.unpack_from(frames)[:2])
                typed += frames[HEAD.size : end]
                frames = frames[end:]


def _end(frames: bytes) -> int:
    length: int = HEAD.unpack_from(frames)[2]
    return HEAD.size + length


def _resize(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


if __name__ == "__main__":
    main()
