"""A sandbox with the test's MCP server in its workspace, and the same server over HTTP."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from weft.agent.mcp import HttpServer, StdioServer
from weft.agent.sandbox import Sandbox
from weft.agent.sandbox.namespaces import Namespaces
from weft.agent.sandbox.unconfined import Unconfined

SERVER = Path(__file__).with_name("mcp_server.py")


@pytest.fixture(params=["unconfined", pytest.param("namespaces", marks=pytest.mark.sandbox)])
def box(request, tmp_path: Path) -> Iterator[Sandbox]:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    shutil.copy(SERVER, workspace / "server.py")
    provider = Namespaces() if request.param == "namespaces" else Unconfined()
    with Sandbox.open(workspace, provider=provider) as opened:
        yield opened


@pytest.fixture
def stdio() -> StdioServer:
    command = (sys.executable, "server.py")
    return StdioServer(name="odd", command=command, environment={"MCP_KEY": "k"})


@pytest.fixture(scope="session")
def server_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mcp_server", SERVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def remote(server_module: ModuleType):
    running = server_module.HttpMcp()
    yield running
    running.close()


@pytest.fixture
def http(remote) -> HttpServer:
    return HttpServer(name="far", url=remote.url, headers={"Authorization": "Bearer secret-of-the-test"})
