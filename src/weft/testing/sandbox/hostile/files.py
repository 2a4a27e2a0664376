"""Attempts to change what lies outside of the workspace, or to make what reaches the machine's devices."""

from __future__ import annotations

from typing import Final

from weft.agent.sandbox import Promise
from weft.testing.sandbox.attempt import Attempt, Ground


def _file(name: str, code: str, ground: Ground = Ground.BARE) -> Attempt:
    return Attempt(name, Promise.FILES, code, ground)


def _opened_to_write(name: str, path: str) -> Attempt:
    """Nothing is written, so that it is harmless where it succeeds."""
    return _file(name, f"touch(any_of({path!r}))", Ground.ROOT)


FILES: Final = [
    _file("create_outside", "open(OUTSIDE + '/new', 'w').close()"),
    _file("append_outside", "open(OUTSIDE + '/notes', 'a').write('x')"),
    _file("truncate_outside", "os.truncate(OUTSIDE + '/notes', 0)"),
    _file("delete_outside", "os.unlink(OUTSIDE + '/notes')"),
    _file("chmod_outside", "os.chmod(OUTSIDE + '/notes', 0o777)"),
    _file("attribute_outside", "os.setxattr(OUTSIDE + '/notes', 'user.weft', b'x')"),
    _file("write_toolchain", "open(TOOLS + '/tool', 'a').write('x')"),
    _file("create_in_toolchain", "open(TOOLS + '/new', 'w').close()"),
    _file("write_through_new_link", "os.symlink(OUTSIDE + '/notes', 'l'); open('l', 'a').write('x')"),
    _file("write_through_old_link", "open(WORKSPACE + '/escape', 'a').write('x')"),
    _file("climb", "open('../' * 40 + OUTSIDE + '/climbed', 'w').close()"),
    _file("hard_link", "os.link(OUTSIDE + '/notes', 'hard')"),
    _file("hard_link_toolchain", "os.link(TOOLS + '/tool', 'hard'); open('hard', 'a').write('x')"),
    _file(
        "hard_link_by_descriptor",
        """
        fd = os.open(TOOLS + '/tool', os.O_RDONLY)
        os.link(f'/proc/self/fd/{fd}', 'hard', src_dir_fd=os.open('.', 0), follow_symlinks=True)
        open('hard', 'a').write('x')
        """,
    ),
    _file("move_out", "open('f', 'w').close(); os.rename('f', OUTSIDE + '/f')"),
    _file("write_by_reopening", "touch('/proc/self/fd/%d' % os.open(TOOLS + '/tool', os.O_RDONLY))"),
    _file("write_through_the_root_of_another", "touch(f'/proc/{EXECUTOR}/root' + OUTSIDE + '/notes')"),
    _file(
        "write_through_the_folder_of_another", "touch(f'/proc/{PID}/cwd/' + '../' * 40 + OUTSIDE + '/notes')"
    ),
    _file(
        "race_of_a_link_and_a_folder",
        # A folder and a link change places, so that the one is looked at and the other used.
        """
        os.mkdir('folder'); os.symlink(OUTSIDE, 'link')
        if (pid := os.fork()) == 0:
            while True:
                for a, b in (('folder', 'held'), ('link', 'folder'), ('folder', 'link'), ('held', 'folder')):
                    os.rename(a, b)
        try:
            until = time.monotonic() + 0.5
            won = False
            while not won and time.monotonic() < until:
                with contextlib.suppress(OSError):
                    won = not os.path.islink('folder') and os.close(
                        os.open('folder/notes', os.O_WRONLY)) is None
        finally:
            os.kill(pid, 9); os.waitpid(pid, 0)
        assert won
        """,
    ),
    _opened_to_write("append_passwd", "/etc/passwd"),
    _file("create_in_etc", "unnamed_file_in('/etc')", Ground.ROOT),
    _file("create_in_usr", "unnamed_file_in('/usr/bin')", Ground.ROOT),
    _file("create_in_root", "unnamed_file_in('/')", Ground.ROOT),
    _opened_to_write("write_core_pattern", "/proc/sys/kernel/core_pattern"),
    _opened_to_write("write_module_loader", "/proc/sys/kernel/modprobe"),
    _opened_to_write("write_sysrq", "/proc/sysrq-trigger"),
    _opened_to_write("write_domain_name", "/proc/sys/kernel/domainname"),
    _opened_to_write("write_binary_formats", "/proc/sys/fs/binfmt_misc/register"),
    _opened_to_write("write_sys", "/sys/kernel/rcu_expedited"),
    _opened_to_write("write_hotplug", "/sys/kernel/uevent_helper"),
    _opened_to_write("write_release_agent", "/sys/fs/cgroup/*/release_agent"),
    _opened_to_write("leave_control_group", "/sys/fs/cgroup/**/cgroup.procs"),
    _file("make_block_device", "os.mknod('disk', stat.S_IFBLK | 0o600, os.makedev(7, 0))", Ground.ROOT),
    _file(
        "make_character_device",
        """
        os.mknod('zero', stat.S_IFCHR | 0o600, os.makedev(1, 5))
        assert open('zero', 'rb').read(1) == bytes(1)
        """,
        Ground.ROOT,
    ),
    Attempt(
        "file_check_without_landlock",
        Promise.LANDLOCK,
        """
        try:
            os.mknod('disk', stat.S_IFBLK | 0o600, 0)
        except OSError as error:
            # Landlock would have refused it sooner than the lack of a capability does, and in other words.
            if error.errno != errno.EPERM:
                raise
        """,
        Ground.ROOT,
    ),
    _file("make_whiteout", "os.mknod('whiteout', stat.S_IFCHR | 0o600, 0)"),
    _file(
        "trusted_attribute",
        "os.mkdir('f'); os.setxattr('f', 'trusted.overlay.redirect', b'/etc')",
        Ground.ROOT,
    ),
    _file(
        "open_a_disk",
        """
        for path in glob.glob('/dev/**', recursive=True):
            with contextlib.suppress(OSError):
                if stat.S_ISBLK(os.stat(path).st_mode):
                    os.close(os.open(path, os.O_RDONLY))
                    break
        else:
            raise OSError('none')
        """,
        Ground.ROOT,
    ),
    _file("open_loop_control", "os.open(any_of('/dev/loop-control'), os.O_RDWR)", Ground.ROOT),
    _file("open_fuse", "os.open(any_of('/dev/fuse'), os.O_RDWR)", Ground.ROOT),
    _file("open_tun", "os.open(any_of('/dev/net/tun'), os.O_RDWR)", Ground.ROOT),
    _file("open_kvm", "os.open(any_of('/dev/kvm'), os.O_RDWR)", Ground.ROOT),
    _file("open_console", "os.open(any_of('/dev/console'), os.O_WRONLY | os.O_NOCTTY)", Ground.ROOT),
]
