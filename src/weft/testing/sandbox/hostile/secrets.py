"""Attempts to read what is not shown."""

from __future__ import annotations

from typing import Final

from weft.agent.sandbox import Promise
from weft.testing.sandbox.attempt import Attempt, Ground


def _read(name: str, code: str, ground: Ground = Ground.BARE, promise: Promise = Promise.SECRETS) -> Attempt:
    return Attempt(name, promise, code, ground)


SECRETS: Final = [
    _read("read_outside", "assert 'treasure' in open(OUTSIDE + '/secret').read()"),
    _read("list_outside", "os.listdir(OUTSIDE)"),
    _read("read_through_old_link", "open(WORKSPACE + '/escape').read()"),
    _read("read_through_the_root_of_another", "open(f'/proc/{EXECUTOR}/root' + OUTSIDE + '/secret').read()"),
    _read("read_shadow", "open('/etc/shadow').read()", Ground.ROOT),
    _read(
        "read_homes",
        """
        found = list(filter(os.path.isfile, glob.glob('/root/.*') + glob.glob('/home/*/.*')))
        if not found:
            raise Absent('there is no file in a home')
        open(found[0], 'rb').read(1)
        """,
        Ground.ROOT,
    ),
    _read("read_shared_memory_file", "open(SHARED).read()"),
    _read(
        "take_a_folder_from_a_socket",
        """
        connection = socket.socket(socket.AF_UNIX)
        os.chdir(OUTSIDE)
        connection.connect('socket')
        _, [fd], _, _ = socket.recv_fds(connection, 1, 1)
        os.open('secret', os.O_RDONLY, dir_fd=fd)
        """,
    ),
    _read(
        "take_a_folder_from_a_socket_in_the_workspace",
        """
        connection = socket.socket(socket.AF_UNIX)
        os.chdir(WORKSPACE)
        connection.connect('handout')
        _, [fd], _, _ = socket.recv_fds(connection, 1, 1)
        os.open('a.txt', os.O_RDONLY, dir_fd=fd)
        """,
    ),
    _read(
        "speak_through_a_pipe_in_the_workspace",
        """
        os.write(os.open(WORKSPACE + '/pipe', os.O_WRONLY | os.O_NONBLOCK), b'x')
        """,
    ),
    _read(
        "open_by_handle",
        """
        handle = ctypes.create_string_buffer(struct.pack('Ii', 128, 0) + bytes(128))
        call('name_to_handle_at', -100, b'.', handle, ctypes.create_string_buffer(4), 0)
        call('open_by_handle_at', os.open('.', os.O_RDONLY), handle, os.O_RDONLY)
        """,
        Ground.ROOT,
    ),
    _read("read_kernel_memory", "os.open(any_of('/proc/kcore'), os.O_RDONLY)", Ground.ROOT),
    _read("read_page_flags", "os.open(any_of('/proc/kpageflags'), os.O_RDONLY)", Ground.ROOT),
    _read("read_memory_device", "os.open(any_of('/dev/mem'), os.O_RDONLY)", Ground.ROOT),
    _read("read_kernel_log_device", "os.open(any_of('/dev/kmsg'), os.O_RDONLY)", Ground.ROOT),
    _read("read_kernel_log_file", "os.open(any_of('/proc/kmsg'), os.O_RDONLY | os.O_NONBLOCK)", Ground.ROOT),
    _read(
        "read_kernel_log_by_call",
        "call('syslog', 3, ctypes.create_string_buffer(64), 64)",
        Ground.ROOT,
        Promise.PRIVILEGE,
    ),
    _read(
        "variable", "assert os.environ.get('WEFT_CONTRACT_TOKEN') == 'treasure'", promise=Promise.ENVIRONMENT
    ),
    _read(
        "variables_of_others",
        """
        for path in glob.glob('/proc/*/environ'):
            with contextlib.suppress(OSError), open(path, 'rb') as file:
                if b'treasure' in file.read():
                    break
        else:
            raise OSError('none')
        """,
    ),
    _read(
        "variables_of_the_executor",
        "assert b'treasure' in open(f'/proc/{EXECUTOR}/environ', 'rb').read()",
        promise=Promise.ENVIRONMENT,
    ),
    _read(
        "inherited_file", "assert b'treasure' in os.pread(DESCRIPTOR, 100, 0)", promise=Promise.ENVIRONMENT
    ),
    _read("inherited_socket", "os.write(SOCKET, b'x')", promise=Promise.ENVIRONMENT),
    _read(
        "any_inherited_descriptor",
        """
        for fd in range(3, 256):
            with contextlib.suppress(OSError):
                print(fd, os.fstat(fd))
                break
        else:
            raise OSError('none')
        """,
        promise=Promise.ENVIRONMENT,
    ),
]
