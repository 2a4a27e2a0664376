"""Hostile programs: each prints REACHED where it got through."""

from __future__ import annotations

import textwrap

import msgspec

from weft.agent.sandbox import Promise


class Attempt(msgspec.Struct, frozen=True):
    """One hostile program, the promise that it tries to break, and whether it is harmless to try outside."""

    name: str
    promise: Promise
    code: str
    control: bool = True


_SYSCALL = """
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    def call(number, *arguments):
        result = libc.syscall(ctypes.c_long(number), *arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result
    x86 = os.uname().machine == "x86_64"
"""


def _kernel_call(name: str, x86: int, arm: int, arguments: str) -> Attempt:
    """A call that must be refused as forbidden, not merely fail for its arguments."""
    code = f"""
        {textwrap.dedent(_SYSCALL).strip().replace(chr(10), chr(10) + " " * 8)}
        try:
            call({x86} if x86 else {arm}, {arguments})
        except OSError as error:
            if error.errno == errno.EPERM:
                raise
            """
    return Attempt(f"call_{name}", Promise.PRIVILEGE, code, control=False)


_P = Promise
ATTEMPTS = [
    Attempt("create_outside", _P.FILES, "open(OUTSIDE + '/new', 'w').close()"),
    Attempt("append_outside", _P.FILES, "open(OUTSIDE + '/notes', 'a').write('x')"),
    Attempt("delete_outside", _P.FILES, "os.unlink(OUTSIDE + '/notes')"),
    Attempt("chmod_outside", _P.FILES, "os.chmod(OUTSIDE + '/notes', 0o777)"),
    Attempt("append_passwd", _P.FILES, "open('/etc/passwd', 'a').close()", control=False),
    Attempt("write_toolchain", _P.FILES, "open(TOOLS + '/tool', 'a').write('x')"),
    Attempt("create_in_toolchain", _P.FILES, "open(TOOLS + '/new', 'w').close()"),
    Attempt(
        "write_through_new_link", _P.FILES, "os.symlink(OUTSIDE + '/notes', 'l'); open('l', 'a').write('x')"
    ),
    Attempt("write_through_old_link", _P.FILES, "open('escape', 'a').write('x')"),
    Attempt("hard_link", _P.FILES, "os.link(OUTSIDE + '/notes', 'hard')"),
    Attempt("hard_link_toolchain", _P.FILES, "os.link(TOOLS + '/tool', 'hard')"),
    Attempt("move_out", _P.FILES, "open('f', 'w').close(); os.rename('f', OUTSIDE + '/f')"),
    Attempt("climb", _P.FILES, "open('../' * 40 + OUTSIDE + '/climbed', 'w').close()"),
    Attempt("write_proc_sys", _P.FILES, "open('/proc/sys/kernel/domainname', 'w').close()", control=False),
    Attempt("write_sysrq", _P.FILES, "open('/proc/sysrq-trigger', 'w').close()", control=False),
    Attempt("write_sys", _P.FILES, "open('/sys/kernel/uevent_helper', 'w').close()", control=False),
    Attempt(
        "block_device", _P.FILES, "os.mknod('disk', stat.S_IFBLK | 0o600, os.makedev(254, 0))", control=False
    ),
    Attempt(
        "memory_device", _P.FILES, "os.mknod('mem', stat.S_IFCHR | 0o600, os.makedev(1, 1))", control=False
    ),
    Attempt(
        "host_disks", _P.FILES, "assert glob.glob('/dev/[svx]d*') + glob.glob('/dev/mem')", control=False
    ),
    Attempt("read_outside", _P.SECRETS, "assert 'treasure' in open(OUTSIDE + '/secret').read()"),
    Attempt("read_through_old_link", _P.SECRETS, "open('escape').read()"),
    Attempt("read_shadow", _P.SECRETS, "open('/etc/shadow').read()", control=False),
    Attempt(
        "read_homes",
        _P.SECRETS,
        "assert list(filter(os.path.isfile, glob.glob('/root/.*') + glob.glob('/home/*/.*')))",
        control=False,
    ),
    Attempt("host_unix_socket", _P.SECRETS, "socket.socket(socket.AF_UNIX).connect(OUTSIDE + '/socket')"),
    Attempt("tcp", _P.NETWORK, "socket.create_connection(('127.0.0.1', PORT), 2)"),
    Attempt("tcp_ipv6", _P.NETWORK, "socket.create_connection(('::1', PORT), 2)"),
    Attempt(
        "udp",
        _P.NETWORK,
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    ),
    Attempt("listen", _P.NETWORK, "socket.create_server(('127.0.0.1', 0))"),
    Attempt("netlink", _P.NETWORK, "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    Attempt("raw_socket", _P.NETWORK, "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", control=False),
    Attempt("packet_socket", _P.NETWORK, "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", control=False),
    Attempt("vsock", _P.NETWORK, "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)", control=False),
    Attempt("dns", _P.NETWORK, "socket.getaddrinfo('name.invalid.example.com', 80)", control=False),
    Attempt("abstract_socket", _P.NETWORK, "socket.socket(socket.AF_UNIX).connect(chr(0) + ABSTRACT)"),
    Attempt("signal_outside", _P.PROCESSES, "os.kill(PID, 0)"),
    Attempt(
        "see_outside",
        _P.PROCESSES,
        "assert any(MARKER[::-1] in open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/cmdline'))",
    ),
    Attempt("parent_visible", _P.PROCESSES, "assert os.getpid() > 1000 or os.getppid() > 1000"),
    Attempt("descriptors_of_init", _P.PROCESSES, "os.listdir('/proc/1/fd')", control=False),
    Attempt("memory_of_init", _P.PROCESSES, "open('/proc/1/mem', 'r+b').close()", control=False),
    Attempt("ptrace", _P.PRIVILEGE, _SYSCALL + "    call(101 if x86 else 117, 0, 0, 0, 0)"),
    Attempt("new_user_namespace", _P.PRIVILEGE, _SYSCALL + "    call(272 if x86 else 97, 0x10000000)"),
    Attempt(
        "clone_into_user_namespace",
        _P.PRIVILEGE,
        _SYSCALL + "    call(56 if x86 else 220, 0x10000000 | 17, 0, 0, 0, 0) or os._exit(0)",
    ),
    Attempt("keyring", _P.PRIVILEGE, _SYSCALL + "    call(250 if x86 else 219, 0, -3, 1)"),
    Attempt(
        "capabilities",
        _P.PRIVILEGE,
        "assert any(int(l.split()[1], 16) for l in open('/proc/self/status') if l.startswith('Cap'))",
        control=False,
    ),
    Attempt("become_root", _P.PRIVILEGE, "os.setuid(0)", control=False),
    Attempt(
        "setuid_file",
        _P.PRIVILEGE,
        "assert os.popen(TOOLS + '/setuid-id -u').read() == '0\\n'",
        control=False,
    ),
    Attempt(
        "gain_by_exec",
        _P.PRIVILEGE,
        "assert 'NoNewPrivs:\\t0' in open('/proc/self/status').read()",
    ),
    Attempt(
        "type_into_terminal",
        _P.PRIVILEGE,
        """
    import fcntl, termios
    _, end = os.openpty()
    fcntl.ioctl(end, termios.TIOCSCTTY, 0)
    try:
        fcntl.ioctl(end, termios.TIOCSTI, b"x")
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        """,
    ),
    Attempt("chroot", _P.PRIVILEGE, "os.chroot('.')", control=False),
    _kernel_call("mount", 165, 40, "b'none', b'/tmp', b'tmpfs', 0, None"),
    _kernel_call("umount", 166, 39, "b'/proc', 2"),
    _kernel_call("setns", 308, 268, "-1, 0"),
    _kernel_call("bpf", 321, 280, "0, None, 0"),
    _kernel_call("userfaultfd", 323, 282, "0xFFFF"),
    _kernel_call("io_uring_setup", 425, 425, "0, None"),
    _kernel_call("perf_event_open", 298, 241, "None, 0, -1, -1, 0"),
    _kernel_call("kexec_load", 246, 104, "0, 0, None, 0"),
    _kernel_call("init_module", 175, 105, "None, 0, None"),
    _kernel_call("open_by_handle_at", 304, 265, "-1, None, 0"),
    _kernel_call("process_vm_writev", 311, 271, "0, None, 0, None, 0, 0"),
    _kernel_call("open_tree", 428, 428, "-1, b'/', 0xFFFF"),
    _kernel_call("pidfd_getfd", 438, 438, "-1, 0, 0"),
    Attempt("environment", _P.ENVIRONMENT, "assert os.environ['WEFT_CONTRACT_TOKEN'] == 'treasure'"),
    Attempt(
        "environment_of_others",
        _P.ENVIRONMENT,
        "assert any(b'treasure' in open(p, 'rb').read() "
        "for p in glob.glob('/proc/*/environ') if os.access(p, 4))",
    ),
    Attempt("inherited_descriptor", _P.ENVIRONMENT, "assert b'treasure' in os.pread(DESCRIPTOR, 100, 0)"),
]
