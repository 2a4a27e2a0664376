"""Each layer by itself, in a process that takes on this one layer only: none rests on another."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from weft.agent.sandbox import inside
from weft.agent.sandbox.inside import kernel, seccomp

pytestmark = pytest.mark.sandbox
_SOURCE = os.path.dirname(os.path.dirname(inside.__file__))


def attempt(layer: str, code: str) -> str:
    program = f"""
import sys; sys.path.insert(0, {_SOURCE!r})
import ctypes, errno, os, signal, socket
from inside import confine, kernel, seccomp
from inside.plan import Plan, run
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
layers = Plan("alone")
{layer}
run(layers.raw())
try:
    {code}
except OSError as error:
    print(errno.errorcode[error.errno])
else:
    print("REACHED")
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=30)
    return done.stdout.strip() or str(done.returncode)


SECCOMP = "confine.filter_calls(layers)"
CALLS = {
    "socket.socket(socket.AF_INET)": "EPERM",
    "socket.socket(socket.AF_INET6)": "EPERM",
    "socket.socketpair(socket.AF_UNIX)": "REACHED",
    "kernel.unshare(kernel.CLONE_NEWUSER)": "EPERM",
    "kernel.syscall('clone', {clone}, kernel.CLONE_NEWUSER | 17, 0, 0, 0, 0) or os._exit(0)": "EPERM",
    "kernel.syscall('clone3', 435, b'', 0)": "ENOSYS",
    "os.waitpid(os.fork() or os._exit(0), 0)": "REACHED",
    "kernel.mount('tmpfs', '/nowhere', 0)": "EPERM",
    "kernel.syscall('bpf', {bpf}, 0, None, 0)": "EPERM",
    "__import__('fcntl').ioctl(0, 0x5412, b'x')": "EPERM",
    "kernel.syscall('ioctl', {ioctl}, 0, 0x5412 | 1 << 32, b'x')": "EPERM",
}


@pytest.mark.parametrize(("code", "expected"), CALLS.items())
def test_seccomp_alone(code: str, expected: str) -> None:
    column = 0 if kernel.machine() == "x86_64" else 1
    numbers = {"clone": (56, 220), "bpf": (321, 280), "ioctl": (16, 29)}
    filled = code.format(**{name: pair[column] for name, pair in numbers.items()})
    assert attempt(SECCOMP, filled) == expected
    if expected == "EPERM" and "ioctl" not in code and "mount" not in code and "bpf" not in code:
        assert attempt("", filled) in ("REACHED", "0")


@pytest.mark.skipif(kernel.machine() != "x86_64", reason="x32 exists on x86_64 only")
def test_seccomp_kills_foreign_numbers() -> None:
    assert attempt(SECCOMP, "kernel.syscall('getpid', 0x40000000 | 39)") == "-31"


EPERM, ENOSYS, KILL, ALLOW = 0x50001, 0x50026, 0x80000000, 0x7FFF0000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def verdict(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the kernel would do, by running the program as it would."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    at = value = 0
    while True:
        code, if_true, if_false, operand = struct.unpack_from("<HBBI", program, 8 * at)
        at += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("<I", data, operand)
            case 0x15:
                at += if_true if value == operand else if_false
            case 0x35:
                at += if_true if value >= operand else if_false
            case 0x45:
                at += if_true if value & operand else if_false
            case 0x06:
                return operand
            case _:
                raise AssertionError(code)


@pytest.mark.parametrize(("machine", "column"), [("x86_64", 0), ("aarch64", 1)])
def test_seccomp_verdicts(machine: str, column: int) -> None:
    """Every number there is, against the table."""
    program, architecture = seccomp.program(machine), ARCHITECTURES[machine]
    refused = {numbers[column] for numbers in seccomp.REFUSED.values()}
    socket_, socketpair, clone, ioctl = ((41, 198), (53, 199), (56, 220), (16, 29))
    for number in range(1 << 10):
        found = verdict(program, architecture, number, 1, 1)
        if number == 435:
            assert found == ENOSYS
        else:
            assert found == (EPERM if number in refused else ALLOW), number
    for number in (socket_[column], socketpair[column]):
        assert [verdict(program, architecture, number, family) for family in (0, 1, 2, 10, 16)] == [
            EPERM,
            ALLOW,
            *[EPERM] * 3,
        ]
    for bit in range(32):
        namespace = (1 << bit) & 0x7E020080
        assert verdict(program, architecture, clone[column], 1 << bit | 17) == (EPERM if namespace else ALLOW)
    for asked in (0x5412, 0x541C, 0x5412 | 1 << 32):
        assert verdict(program, architecture, ioctl[column], 0, asked) == EPERM
    assert verdict(program, architecture, ioctl[column], 0, 0x5413) == ALLOW
    assert verdict(program, 0x40000003, 1) == KILL
    assert verdict(program, architecture, 0x40000001) == (KILL if machine == "x86_64" else ALLOW)
    assert not seccomp.supported("riscv64")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("open({outside!r} + '/f', 'w').close()", "EACCES"),
        ("open({outside!r} + '/there', 'a').close()", "EACCES"),
        ("os.truncate({outside!r} + '/there', 0)", "EACCES"),
        ("os.unlink({outside!r} + '/there')", "EACCES"),
        ("os.link({outside!r} + '/there', {inside!r} + '/l')", "EXDEV"),
        ("os.rename({inside!r} + '/here', {outside!r} + '/here')", "EACCES"),
        ("open({outside!r} + '/there').close()", "REACHED"),
        ("open({inside!r} + '/f', 'w').close()", "REACHED"),
        ("os.mkfifo({inside!r} + '/p')", "REACHED"),
        ("socket.create_connection(('127.0.0.1', {port}))", "EACCES"),
        ("socket.socket(socket.AF_UNIX).connect(chr(0) + {abstract!r})", "EPERM"),
        ("os.kill(os.getppid(), 0)", "EPERM"),
    ],
)
def test_landlock_alone(tmp_path: Path, code: str, expected: str) -> None:
    import socket

    outside, within = tmp_path / "outside", tmp_path / "within"
    outside.mkdir()
    within.mkdir()
    (outside / "there").write_text("x")
    (within / "here").write_text("x")
    abi = kernel.landlock_abi()
    if abi < 6:
        pytest.skip(f"this kernel's Landlock has version {abi}, all of this needs 6")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{tmp_path.name}-{os.getpid()}")
        abstract.listen()
        filled = code.format(
            outside=str(outside),
            inside=str(within),
            port=server.getsockname()[1],
            abstract=f"{tmp_path.name}-{os.getpid()}",
        )
        assert attempt(f"confine.landlock(layers, [{str(within)!r}], [])", filled) == expected
        if expected != "REACHED":
            assert attempt("", filled) == "REACHED"


def test_capabilities_alone() -> None:
    code = "assert not any(int(l.split()[1], 16) for l in open('/proc/self/status') if l[:3] == 'Cap')"
    layer = "confine.empty_bounding_set(layers); confine.renounce(layers)"
    if os.geteuid() != 0:
        layer = f"kernel.unshare(kernel.CLONE_NEWUSER); {layer}"
    assert attempt(layer, code) == "REACHED"
