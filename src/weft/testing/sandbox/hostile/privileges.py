"""Attempts to gain what a command lacks: another user, a capability, a namespace, a mount, a terminal."""

from __future__ import annotations

from typing import Final

from weft.agent.sandbox import Promise
from weft.testing.sandbox.attempt import Attempt, Ground


def _gain(name: str, code: str, ground: Ground = Ground.BARE) -> Attempt:
    return Attempt(name, Promise.PRIVILEGE, code, ground)


_TERMINAL = """
        import fcntl, termios
        _, end = os.openpty()
        with contextlib.suppress(PermissionError):
            os.setsid()
        fcntl.ioctl(end, termios.TIOCSCTTY, 0)
        """

PRIVILEGES: Final = [
    _gain(
        "capabilities",
        """
        assert any(int(l.split()[1], 16) for l in open('/proc/self/status') if l.startswith('Cap'))
        """,
        Ground.NAMESPACES,
    ),
    _gain("become_root", "os.setresuid(1, 0, 0); assert os.geteuid() == 0", Ground.ROOT),
    _gain("become_another", "os.setresuid(1, 1, 1)", Ground.ROOT),
    _gain("join_a_group", "os.setgroups([0, 1])", Ground.ROOT),
    _gain("setuid_file", "assert said_by(TOOLS + '/setuid-id', '-u').strip() == '0'", Ground.ROOT),
    _gain(
        "file_with_capability",
        """
        said = said_by(TOOLS + '/capable-cat', '/proc/self/status')
        assert [int(l.split()[1], 16) for l in said.splitlines() if l.startswith('CapEff')] == [1 << 13]
        """,
        Ground.ROOT,
    ),
    _gain(
        "give_a_file_a_capability",
        """
        import shutil
        shutil.copy('/bin/cat', 'cat')
        os.setxattr('cat', 'security.capability', struct.pack('<5I', 0x02000001, 1 << 13, 0, 0, 0))
        """,
        Ground.ROOT,
    ),
    _gain("give_a_file_away", "open('f', 'w').close(); os.chown('f', 1, 1)", Ground.ROOT),
    _gain("gain_by_execution", "assert 'NoNewPrivs:\\t0' in open('/proc/self/status').read()"),
    _gain("new_user_namespace", "call('unshare', 0x10000000)"),
    _gain("new_network_namespace", "call('unshare', 0x40000000)", Ground.NAMESPACES),
    _gain("clone_into_user_namespace", "call('clone', 0x10000000 | 17, 0, 0, 0, 0) or os._exit(0)"),
    _gain(
        "clone3_into_user_namespace",
        """
        how = struct.pack('8Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0)
        call('clone3', how, len(how)) or os._exit(0)
        """,
    ),
    _gain(
        "enter_namespace", "call('setns', os.open('/proc/self/ns/uts', os.O_RDONLY), 0)", Ground.NAMESPACES
    ),
    _gain("mount", "call('mount', b'none', os.getcwd().encode(), b'tmpfs', 0, None)", Ground.NAMESPACES),
    _gain(
        "mount_over_tools",
        """
        call('mount', os.getcwd().encode(), TOOLS.encode(), None, 4096, None)
        """,
        Ground.NAMESPACES,
    ),
    _gain(
        "mount_proc_again",
        "call('mount', b'proc', os.getcwd().encode(), b'proc', 0, None)",
        Ground.NAMESPACES,
    ),
    _gain("make_writable", "call('mount', None, b'/proc', None, 4096 | 32, None)", Ground.NAMESPACES),
    _gain("unmount", "call('umount2', b'/proc', 2)", Ground.NAMESPACES),
    _gain("change_root", "os.chroot('.')", Ground.NAMESPACES),
    _gain("pivot_root", "reach('pivot_root', b'.', b'.')", Ground.NAMESPACES),
    _gain(
        "mount_by_newer_calls",
        """
        context = call('fsopen', b'tmpfs', 0)
        call('fsconfig', context, 6, None, None, 0)
        mounted = call('fsmount', context, 0, 0)
        call('move_mount', mounted, b'', -100, os.getcwd().encode(), 4)
        """,
        Ground.NAMESPACES,
    ),
    _gain("open_a_file_system", "call('fsopen', b'tmpfs', 0)", Ground.NAMESPACES),
    _gain("copy_a_mount", "call('open_tree', -100, os.getcwd().encode(), 1)", Ground.NAMESPACES),
    _gain(
        "make_writable_by_newer_call",
        """
        call('mount_setattr', -100, b'/proc', 0, struct.pack('4Q', 0, 1, 0, 0), 32)
        """,
        Ground.NAMESPACES,
    ),
    _gain("set_host_name", "checked(libc.sethostname(b'weft', 4))", Ground.NAMESPACES),
    _gain(
        "type_into_terminal",
        _TERMINAL
        + """
        try:
            fcntl.ioctl(end, termios.TIOCSTI, b'x')
        except OSError as error:
            if error.errno == errno.EPERM:
                raise
        """,
    ),
    _gain(
        "paste_into_console",
        _TERMINAL
        + """
        try:
            fcntl.ioctl(end, 0x541C, b'\\x03')
        except OSError as error:
            if error.errno == errno.EPERM:
                raise
        """,
    ),
    _gain("be_less_nice", "os.nice(-5)", Ground.ROOT),
    _gain("real_time", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))", Ground.ROOT),
    _gain("never_run_out_of_memory", "open('/proc/self/oom_score_adj', 'w').write('-900')", Ground.ROOT),
    _gain(
        "raise_a_limit",
        """
        limits = struct.pack('2Q', 1 << 20, 1 << 20)
        call('prlimit64', 0, 4, limits, None)
        """,
        Ground.ROOT,
    ),
]
