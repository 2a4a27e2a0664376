"""The bubblewrap provider where there is none, or one that cannot; bubblewrap itself is in tests/engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.agent.sandbox import Limits, bubblewrap
from weft.agent.sandbox.bubblewrap import Bubblewrap
from weft.agent.sandbox.changes import Pair
from weft.core.errors import NotFound, Unavailable


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "state").mkdir()
    return tmp_path / "work"


def test_a_host_without_bubblewrap_is_refused_with_the_fix(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="`bwrap` is not installed; apt-get install bubblewrap"):
        Bubblewrap(environ={"PATH": str(tmp_path)}).open(workspace)


@pytest.mark.sandbox
def test_a_bubblewrap_that_cannot_is_refused_with_what_it_says(workspace: Path, tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    provider = Bubblewrap(program=str(program), state=str(tmp_path / "state"))
    with pytest.raises(Unavailable, match="No permissions to create new namespace") as raised:
        provider.open(workspace)
    assert "apparmor_restrict_unprivileged_userns" in (raised.value.hint or "")
    assert list((tmp_path / "state").iterdir()) == []


def test_toolchains_and_workspaces_are_checked_before_anything_starts(workspace: Path) -> None:
    with pytest.raises(NotFound):
        Bubblewrap(program="true").open(workspace, toolchain=["/nowhere"])
    with pytest.raises(NotFound):
        Bubblewrap(program="true").open("/nowhere")


def test_walls_are_built_in_an_order_that_lets_nothing_show_through(tmp_path: Path) -> None:
    """What hides comes after what it hides, and the root is closed when all that stands in it is there."""
    pair = Pair("/state/base", "/state/copy", layer=False)
    walls = bubblewrap._walls(
        str(tmp_path), "/home/ann/work", pair, ["/usr", "/etc"], ["key"], Limits(tmp_bytes=7), as_root=False
    )
    pairs = list(zip(walls, walls[1:], walls[2:], strict=False))
    work = pairs.index(("--bind", "/state/copy", "/home/ann/work"))
    assert pairs.index(("--ro-bind", "/etc", "/etc")) < pairs.index(
        ("--ro-bind", f"{tmp_path}/hidden-file", "/etc/shadow")
    )
    assert work < pairs.index(("--ro-bind", f"{tmp_path}/hidden-file", "/home/ann/work/key"))
    assert work < walls.index("--remount-ro")
    assert walls[walls.index("--tmpfs") - 2 : walls.index("--tmpfs") + 2] == [
        "--size",
        "7",
        "--tmpfs",
        "/tmp",
    ]
    assert ("0755", "--dir", "/home/ann") in pairs
    assert "--unshare-all" in walls
    assert "--cap-add" not in walls
