"""Attempts to reach a network. Whatever gets through goes to a listener of the test, or to nobody."""

from __future__ import annotations

from typing import Final

from weft.agent.sandbox import Promise
from weft.testing.sandbox.attempt import Attempt, Ground


def _net(name: str, code: str, ground: Ground = Ground.BARE) -> Attempt:
    return Attempt(name, Promise.NETWORK, code, ground)


NETWORK: Final = [
    _net("tcp", "socket.create_connection(('127.0.0.1', PORT), 2)"),
    _net("tcp_over_ipv6", "socket.create_connection(('::1', PORT), 2)"),
    _net(
        "tcp_to_mapped_address",
        """
        sock = socket.socket(socket.AF_INET6)
        sock.connect(('::ffff:127.0.0.1', PORT))
        """,
    ),
    _net("udp", "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))"),
    _net("udp_over_ipv6", "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', ('::1', PORT))"),
    _net("listen", "socket.create_server(('127.0.0.1', 0))"),
    _net("listen_over_ipv6", "socket.create_server(('::1', 0), family=socket.AF_INET6)"),
    _net(
        "ask_a_name_server",
        """
        name = b'\\4weft\\4test\\0'
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        asking.settimeout(5)
        question = struct.pack('>6H', 7, 0x100, 1, 0, 0, 0) + name + struct.pack('>2H', 1, 1)
        asking.sendto(question, ('127.0.0.1', DNS_PORT))
        assert asking.recv(512).endswith(bytes((127, 0, 0, 9)))
        """,
    ),
    # Bound to the loopback interface: it cannot leave the machine, wherever it is made.
    _net(
        "link_local_address",
        """
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lo')
        sock.settimeout(2)
        sock.connect(('169.254.169.254', PORT))
        """,
        Ground.NAMESPACES,
    ),
    _net(
        "link_local_address_over_ipv6",
        """
        sock = socket.socket(socket.AF_INET6)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lo')
        sock.settimeout(2)
        sock.connect(('fe80::1', PORT, 0, socket.if_nametoindex('lo')))
        """,
        Ground.NAMESPACES,
    ),
    _net(
        "raw_socket",
        """
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        sock.settimeout(2)
        sock.sendto(struct.pack('>BBHHH', 8, 0, 0xf7ff, 0, 0), ('127.0.0.1', 0))
        sock.recv(512)
        """,
        Ground.NAMESPACES,
    ),
    _net("raw_socket_over_ipv6", "socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)", Ground.NAMESPACES),
    _net(
        "packet_socket",
        """
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sock.bind(('lo', 0x0800))
        sock.send(bytes(60))
        """,
        Ground.NAMESPACES,
    ),
    _net(
        "netlink",
        """
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
        sock.send(struct.pack('=IHHII', 20, 18, 0x301, 1, 0) + bytes(4))
        assert sock.recv(4096)
        """,
    ),
    _net(
        "bring_an_interface_up",
        """
        import fcntl
        fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 1))
        """,
        Ground.NAMESPACES,
    ),
    _net("vsock", "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)"),
    _net("crypto_socket", "socket.socket(38, socket.SOCK_SEQPACKET)"),
    _net("express_data_path", "socket.socket(44, socket.SOCK_RAW)", Ground.NAMESPACES),
    _net(
        "socket_of_any_family",
        """
        def opens(family, kind):
            with contextlib.suppress(OSError), socket.socket(family, kind):
                return True
        assert any(opens(family, kind) for family in range(2, 46) for kind in (1, 2, 3, 5))
        """,
    ),
    _net("abstract_socket", "socket.socket(socket.AF_UNIX).connect(chr(0) + ABSTRACT)"),
    _net(
        "abstract_datagram",
        """
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', chr(0) + ABSTRACT + '-datagrams')
        """,
    ),
    _net("host_socket_by_path", "os.chdir(OUTSIDE); socket.socket(socket.AF_UNIX).connect('socket')"),
]
