"""What the policy hides in a workspace cannot be read inside by any command, and that is no change."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from weft.agent.sandbox import Sandbox, namespaces
from weft.agent.sandbox.shown import covered
from weft.agent.sandbox.unconfined import Unconfined
from weft.core.errors import Conflict, Denied, Invalid, NotFound

SECRET = "the-treasure-is-here"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    (root / "private" / "deep").mkdir(parents=True)
    (root / "key.txt").write_text(SECRET)
    (root / "private" / "deep" / "key.txt").write_text(SECRET)
    (root / "alias").symlink_to("key.txt")
    (root / "open.txt").write_text("everybody may read this")
    me = ["-c", "user.name=ann", "-c", "user.email=ann@example.org"]
    for command in (["init", "-q"], ["add", "."], [*me, "commit", "-qm", "all"]):
        subprocess.run(["git", "-C", str(root), *command], check=True, capture_output=True)
    return root


ATTEMPTS = [
    "cat key.txt private/deep/key.txt alias",
    "grep -r treasure . ; grep -r treasure /proc/self/root/$PWD",
    "git show HEAD:key.txt; git cat-file --batch-all-objects --batch; find .git -type f -exec cat {} +",
    "cp -r . /tmp/x; cat /tmp/x/key.txt /tmp/x/private/deep/key.txt",
    "chmod -R u+rwX . ; cat key.txt private/deep/key.txt",
    "mv key.txt moved; cat moved; mv private other; cat other/deep/key.txt; ln key.txt hard; cat hard",
    "rm -f key.txt; cat key.txt; rm -rf private; cat private/deep/key.txt",
    "umount key.txt; unshare -rm sh -c 'umount key.txt; cat key.txt'; cat key.txt",
    "mount --bind /tmp key.txt; tar cf - . | grep -a treasure; python3 -c \"print(open('key.txt').read())\"",
]


@pytest.mark.sandbox
@pytest.mark.parametrize("command", ATTEMPTS)
def test_no_command_reads_what_is_hidden(workspace: Path, command: str) -> None:
    with Sandbox.open(workspace) as control:
        assert SECRET in control.run("cat key.txt").output
    with Sandbox.open(workspace, hidden=["key.txt", "private"]) as box:
        assert SECRET.removeprefix("the-") not in box.run(command, timeout_s=30).output
        assert "everybody" in box.run("cat open.txt || cat /tmp/x/open.txt").output


@pytest.mark.sandbox
def test_what_is_hidden_is_no_change_and_stays_hidden_after_a_commit(workspace: Path) -> None:
    with Sandbox.open(workspace, hidden=["key.txt", "private/deep"]) as box:
        assert box.changes() == []
        with pytest.raises(Denied):
            box.read("key.txt")
        box.write("open.txt", b"changed")
        assert [change.path for change in box.commit()] == ["open.txt"]
        assert SECRET not in box.run("cat key.txt; cat private/deep/*").output
    assert (workspace / "key.txt").read_text() == SECRET
    assert (workspace / "private/deep/key.txt").read_text() == SECRET


@pytest.mark.sandbox
def test_a_workspace_that_has_to_be_copied_hides_too(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespaces, "can_be_lower", lambda root: False)
    with Sandbox.open(workspace, hidden=["key.txt"]) as box:
        assert SECRET not in box.run("cat key.txt alias").output
        assert box.changes() == []


def test_without_a_sandbox_it_is_left_out_of_the_copy(workspace: Path) -> None:
    with Sandbox.open(workspace, provider=Unconfined(), hidden=["key.txt", "private"]) as box:
        assert SECRET not in box.run("cat key.txt private/deep/key.txt; git show HEAD:key.txt").output
        with pytest.raises(NotFound):
            box.read("key.txt")
        assert box.changes() == []
        box.write("key.txt", b"mine")
        with pytest.raises(Conflict, match=r"key\.txt"):
            box.commit()


def test_what_covers_a_path_covers_its_history_and_nothing_twice(workspace: Path) -> None:
    root = str(workspace)
    assert covered(root, ["key.txt", "./private/", "private/deep", "not/there", "alias"]) == [
        "key.txt",
        ".git",
        "private",
    ]
    for path in (".", "..", "../x", "/etc"):
        with pytest.raises(Invalid, match="cannot be hidden"):
            covered(root, [path])
