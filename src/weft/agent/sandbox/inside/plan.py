"""Programs of system calls: composed where there is time, run where each page that is touched is paid for.

A plan is a series of sections: a header, steps of fixed size, and the data that they point to. What runs it
knows nothing of sandboxes: `run` here, and native/plan.c where there is a compiler. All numbers are those of
the machine. A step is a call with up to six arguments, or one of two changes to the data before a call.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Register(int):
    """Where the result of a call is kept for later ones, mostly a descriptor."""


class Place(int):
    """Where something stands in the data."""


OPENED, HOST_PROC, IDMAP, MAKER, RULESET = map(Register, range(5))

_FORMAT = 1
"""Goes up with each change of what the bytes mean: a program or a process of another version refuses them."""
_HEADER = struct.Struct("=I20sII")
"""The format, the stage that a failure is told of, the number of steps, and the bytes of data, which are a
multiple of eight."""
_STEP = struct.Struct("=iBB6B4x6QI4x")
"""The call's number; what its result must be; the register that it goes to; the arguments, by their kinds and
values; and where in the data the step's name is."""
_VALUE, _IN_REGISTER, _IN_DATA = range(3)
_NOWHERE = 0xFF
_POKE, _POINT = -1, -2
"""In place of a call: a register's value, or the address of a place, written to another place."""

MUST_SUCCEED, MAY_BE_REFUSED, MAY_EXIST, MUST_BE_ZERO, GONE_UNLESS_ZERO = range(5)
"""What a result must be. Where nobody waits for the end any more, the process ends without a word."""
_TOLERATED = {MAY_BE_REFUSED: (errno.EACCES, errno.EPERM), MAY_EXIST: (errno.EEXIST,)}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.syscall.argtypes = [ctypes.c_long, *[ctypes.c_ulong] * 6]


class Failed(OSError):
    """A step that had to succeed did not; the text names it."""

    def __init__(self, stage: str, number: int, step: str) -> None:
        super().__init__(number, f"{step}: {os.strerror(number)}")
        self.stage = stage


class Gone(Exception):
    """A step says that nobody waits for the end of the plan any more."""


class Plan:
    """One section, as it is composed."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._steps: list[bytes] = []
        self._data = bytearray()
        self._folders: set[str] = set()

    def raw(self) -> bytes:
        """The section; those of one plan are joined as they are."""
        data = bytes(self._data) + bytes(-len(self._data) % 8)
        return (
            _HEADER.pack(_FORMAT, self._stage.encode(), len(self._steps), len(data))
            + b"".join(self._steps)
            + data
        )

    def call(
        self,
        name: str,
        *arguments: int | bytes | None,
        result: int = MUST_SUCCEED,
        into: Register | None = None,
        what: str = "",
    ) -> None:
        """A system call by its name in `kernel.CALLS`; bytes are passed by their address, None as 0."""
        kinds, values = [_VALUE] * 6, [0] * 6
        for index, argument in enumerate(arguments):
            if isinstance(argument, bytes):
                argument = self.put(argument)
            if isinstance(argument, Place):
                kinds[index] = _IN_DATA
            elif isinstance(argument, Register):
                kinds[index] = _IN_REGISTER
            values[index] = (argument or 0) & 0xFFFFFFFFFFFFFFFF
        told = self.put((what or name).encode("utf-8", "surrogateescape"))
        where = _NOWHERE if into is None else into
        self._steps.append(_STEP.pack(kernel.call_number(name), result, where, *kinds, *values, told))

    def put(self, data: bytes) -> Place:
        """Where the data will stand, followed by a zero byte."""
        place = Place(len(self._data))
        self._data += data + bytes(8 - len(data) % 8)
        return place

    def poke(self, place: Place, offset: int, register: Register) -> None:
        """Write the lower half of a register into what was put at the place."""
        self._steps.append(_STEP.pack(_POKE, 0, _NOWHERE, *bytes(6), place + offset, register, *[0] * 5))

    def point(self, place: Place, offset: int, target: Place) -> None:
        """Write the address of one place into another."""
        self._steps.append(_STEP.pack(_POINT, 0, _NOWHERE, *bytes(6), place + offset, target, *[0] * 5))

    # Files

    def open(self, path: str, flags: int, *, into: Register = OPENED, mode: int = 0) -> None:
        """A descriptor; of a relative path below the host's /proc."""
        base = kernel.AT_FDCWD if path.startswith("/") else HOST_PROC
        flags |= os.O_CLOEXEC
        self.call("openat", base, os.fsencode(path), flags, mode, into=into, what=f"open {path}")

    def close(self, register: Register = OPENED) -> None:
        """Close the descriptor in a register."""
        self.call("close", register)

    def write(self, path: str, text: str) -> None:
        """Write to a file that is there."""
        self.open(path, os.O_WRONLY)
        self.call("write", OPENED, text.encode(), len(text), what=f"write {path}")
        self.close()

    def folder(self, path: str, mode: int = 0o755, result: int = MUST_SUCCEED) -> None:
        """A folder, in one that the plan has made or that is there."""
        self._folders.add(path)
        self.call("mkdirat", kernel.AT_FDCWD, os.fsencode(path), mode, result=result, what=f"mkdir {path}")

    def folders(self, path: str, below: str, result: int = MUST_SUCCEED) -> None:
        """A folder with those above it, where the plan has not made them, up to one that is there."""
        if path != below and path not in self._folders:
            self.folders(os.path.dirname(path), below, result)
            self.folder(path, result=result)

    def give(self, path: str, owner: int) -> None:
        """Change owner and group to the same number."""
        self.call("fchownat", kernel.AT_FDCWD, os.fsencode(path), owner, owner, 0, what=f"chown {path}")

    def mode(self, path: str, mode: int) -> None:
        """Change who may do what with it."""
        self.call("fchmodat", kernel.AT_FDCWD, os.fsencode(path), mode, what=f"chmod {path}")

    def file(self, path: str, mode: int) -> None:
        """An empty file."""
        self.open(path, os.O_CREAT | os.O_WRONLY, mode=mode)
        self.close()

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        where = os.fsencode(path)
        self.call("symlinkat", os.fsencode(target), kernel.AT_FDCWD, where, what=f"symlink {path}")

    def remove(self, folder: str, file: str) -> None:
        """Take an empty folder and a file away."""
        for path, flags in ((folder, kernel.AT_REMOVEDIR), (file, 0)):
            self.call("unlinkat", kernel.AT_FDCWD, os.fsencode(path), flags, what=f"unlink {path}")

    # Mounts

    def mount(self, kind: str | None, target: str, flags: int, data: str | None = None) -> None:
        """A new file system of a kind, or a changed mount where the kind is None (mount(2))."""
        name = kind.encode() if kind else None
        told = data.encode() if data is not None else None
        what = f"mount {kind or 'change'} on {target}"
        self.call("mount", name, os.fsencode(target), name, flags, told, what=what)

    def bind(
        self,
        source: str,
        target: str,
        attributes: int,
        *,
        result: int = MUST_SUCCEED,
        idmap: Register | None = None,
    ) -> None:
        """Show `source` and all mounted below it at `target` with more restrictive attributes, in one step.

        The clone gets its attributes before it is attached, so no moment exists when it can be written.
        `result` is that of attaching it: there are targets that a user cannot reach.
        """
        change = self.put(struct.pack("=4Q", attributes, 0, 0, 0))
        if idmap is not None:
            self.poke(change, 24, idmap)
        clone = kernel.OPEN_TREE_CLONE | os.O_CLOEXEC | kernel.AT_RECURSIVE
        how = kernel.AT_EMPTY_PATH | kernel.AT_RECURSIVE
        self.call(
            *("open_tree", kernel.AT_FDCWD, os.fsencode(source), clone),
            into=OPENED,
            what=f"open_tree {source}",
        )
        self.call("mount_setattr", OPENED, b"", how, change, 32, what=f"mount_setattr {source}")
        self.call(
            *(
                "move_mount",
                OPENED,
                b"",
                kernel.AT_FDCWD,
                os.fsencode(target),
                kernel.MOVE_MOUNT_F_EMPTY_PATH,
            ),
            result=result,
            what=f"move_mount {target}",
        )
        self.close()


def run(raw: bytes, registers: dict[int, int] | None = None) -> None:
    """Make the calls of a plan: `Failed` at the first that had to succeed and did not, or `Gone`.

    What is in `registers` is there for the plan, and what the plan keeps is there for the next.
    """
    at = 0
    registers = {} if registers is None else registers
    while at < len(raw):
        version, stage, count, size = _HEADER.unpack_from(raw, at)
        if version != _FORMAT:
            raise Failed("confinement", errno.EPROTO, f"a plan of format {version}, not {_FORMAT}")
        at += _HEADER.size
        steps = raw[at : at + count * _STEP.size]
        at += len(steps)
        data = ctypes.create_string_buffer(raw[at : at + size], size)
        at += size
        for step in _STEP.iter_unpack(steps):
            if failure := _make(step, ctypes.addressof(data), registers):
                raise Failed(stage.rstrip(b"\0").decode(), *failure)


def _make(step: tuple[Any, ...], data: int, registers: dict[int, int]) -> tuple[int, str] | None:
    """Make one step; where it fails the error's number and the step's name."""
    number, kind, into, *rest = step
    kinds, values, name = rest[:6], rest[6:12], rest[12]
    if number == _POKE:
        ctypes.c_int.from_address(data + values[0]).value = registers[values[1]]
        return None
    if number == _POINT:
        ctypes.c_ulong.from_address(data + values[0]).value = data + values[1]
        return None
    result = _libc.syscall(number, *map(_argument, kinds, values, [data] * 6, [registers] * 6))
    if result < 0:
        code = ctypes.get_errno()
        if code in _TOLERATED.get(kind, ()):
            return None
        return code, _name(data + name)
    if result and kind == MUST_BE_ZERO:
        return errno.EPERM, _name(data + name)
    if result and kind == GONE_UNLESS_ZERO:
        raise Gone
    if into != _NOWHERE:
        registers[into] = result
    return None


def _name(address: int) -> str:
    return ctypes.string_at(address).decode("utf-8", "surrogateescape")


def _argument(kind: int, value: int, data: int, registers: dict[int, int]) -> int:
    if kind == _IN_REGISTER:
        return registers[value]
    return data + value if kind == _IN_DATA else value
