"""Makes fresh namespaces fit for a control, then runs its command there: needs Python alone, as root of them.

The loopback interface comes up with link-local addresses beside its own, and a listener on every address.
"""

import fcntl
import socket
import struct
import subprocess
import sys

_SET_FLAGS, _SET_ADDRESS, _SET_MASK, _UP = 0x8914, 0x8916, 0x891C, 1


def main() -> None:
    """argv holds the link-local address, the port and the command."""
    address, port, *command = sys.argv[1:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))
        for what, value in ((_SET_ADDRESS, address), (_SET_MASK, "255.255.255.255")):
            packed = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(sock, what, packed)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        loopback = socket.if_nametoindex("lo")
        own = struct.pack("=16sIi", socket.inet_pton(socket.AF_INET6, "fe80::1"), 128, loopback)
        fcntl.ioctl(sock, _SET_ADDRESS, own)
    with socket.create_server(("", int(port)), family=socket.AF_INET6, dualstack_ipv6=True):
        sys.exit(subprocess.call(command))


if __name__ == "__main__":
    main()
