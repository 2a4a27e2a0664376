"""The messages of MCP: JSON-RPC 2.0, and the few results that a client of tools reads."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from weft.core.errors import Unavailable

PROTOCOL: Final = "2025-06-18"
"""The revision that is asked for (modelcontextprotocol.io/specification)."""
UNDERSTOOD: Final = frozenset({"2024-11-05", "2025-03-26", PROTOCOL, "2025-11-25"})
METHOD_NOT_FOUND: Final = -32601


class ServerLost(Unavailable):
    """The server has ended, does not answer, or does not speak the protocol."""

    code = "mcp_server_lost"


class SessionForgotten(ServerLost):
    """The server wants a new handshake; it has not looked at the request."""

    code = "mcp_session_forgotten"


class RpcError(msgspec.Struct):
    code: int = 0
    message: str = ""


class Message(msgspec.Struct):
    """A request (`id` and `method`), a notification (`method`), or a response (`id`, `result` or `error`)."""

    id: int | str | None = None
    method: str | None = None
    params: dict[str, Any] | None = None
    result: Any = None
    error: RpcError | None = None


class Initialized(msgspec.Struct, rename="camel"):
    protocol_version: str
    capabilities: dict[str, Any] = {}
    server_info: dict[str, Any] = {}


class RemoteTool(msgspec.Struct, rename="camel", frozen=True):
    """A tool as its server describes it: not to be trusted."""

    name: str
    description: str = ""
    input_schema: dict[str, Any] = {}


class ToolPage(msgspec.Struct, rename="camel"):
    tools: list[RemoteTool] = []
    next_cursor: str | None = None


class CallResult(msgspec.Struct, rename="camel"):
    """What a call gave: pieces of content, and structured content beside or instead."""

    content: list[dict[str, Any]] = []
    structured_content: Any = None
    is_error: bool = False


def encode(**fields: Any) -> bytes:
    """One message, on one line."""
    return msgspec.json.encode({"jsonrpc": "2.0", **fields})


def decode(data: bytes) -> list[Message]:
    """The messages of one piece: one, or those of a batch; none for what is no message, as a log line."""
    try:
        if data.lstrip().startswith(b"["):
            return msgspec.json.decode(data, type=list[Message])
        return [msgspec.json.decode(data, type=Message)]
    except msgspec.MsgspecError:
        return []
