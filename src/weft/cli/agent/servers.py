"""MCP servers from a file of the form that editors and other agents share.

{"mcpServers": {"notes": {"command": "notes-server", "args": ["--folder", "notes"], "env": {}},
                "tickets": {"url": "https://tickets.example.org/mcp", "headers": {}}}}
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from weft.agent.mcp import HttpServer, Server, StdioServer
from weft.cli.inputs import read_text
from weft.core.errors import Invalid


class _Entry(msgspec.Struct, frozen=True):
    """One server. What else a file says of it is for other programs."""

    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    url: str = ""
    headers: dict[str, str] = {}


class _File(msgspec.Struct, frozen=True, rename="camel"):
    mcp_servers: dict[str, _Entry]


def read_servers(file: Path) -> list[Server]:
    """The servers of a file; `Invalid` says what is wrong with it."""
    try:
        found = msgspec.json.decode(read_text(file), type=_File)
    except msgspec.MsgspecError as error:
        raise Invalid(
            f"`{file}` does not name MCP servers: {error}",
            hint='write {"mcpServers": {"NAME": {"command": ..., "args": [...]}}}',
        ) from error
    return [_server(name, entry) for name, entry in found.mcp_servers.items()]


def _server(name: str, entry: _Entry) -> Server:
    if bool(entry.command) == bool(entry.url):
        raise Invalid(f"the MCP server `{name}` has not one way to reach it", hint="give a command or a url")
    if entry.url:
        return HttpServer(name=name, url=entry.url, headers=entry.headers)
    return StdioServer(name=name, command=(entry.command, *entry.args), environment=entry.env)
