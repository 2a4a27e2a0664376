"""Tools of MCP servers: a client of the Model Context Protocol, over stdio in the sandbox and over HTTP."""

from weft.agent.mcp.client import McpClient
from weft.agent.mcp.servers import HttpServer, Server, Servers, StdioServer

__all__ = ["HttpServer", "McpClient", "Server", "Servers", "StdioServer"]
