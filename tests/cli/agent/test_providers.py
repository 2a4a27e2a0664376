"""`weft agent run` in a sandbox of another provider."""

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.sandbox


def test_the_provider_that_is_named_makes_the_sandbox(
    do: Any, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    refused = do(options=("--provider", "bubblewrap"))
    assert refused.code == 2
    assert "`bwrap` is not installed; apt-get install bubblewrap" in refused.out + refused.err


def test_an_image_is_for_those_that_use_one(do: Any) -> None:
    refused = do(options=("--image", "x"))
    assert refused.code == 2
    assert "`namespaces` uses no image" in refused.err


def test_a_task_is_done_where_there_are_no_walls_but_a_copy(do: Any, workspace: Path) -> None:
    done = do(options=("--provider", "unconfined"))
    assert done.code == 0
    assert "done: verified" in done.out
    assert (workspace / "greeting.txt").read_text() == "helo\n"
