"""Files inside, changes, and what reaches the real workspace."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import pytest

from weft.agent.sandbox import Promise, Sandbox, SandboxProvider
from weft.core.errors import Conflict, Invalid, LimitExceeded, NotFound
from weft.testing.sandbox.fixtures import SandboxFixtures

_CHANGE_PLACES = """
import os, sys, time
os.mkdir("one"); open("one/file", "w").write("mine"); os.symlink(sys.argv[1], "other")
until = time.monotonic() + float(sys.argv[2])
print("up", flush=True)
while time.monotonic() < until:
    for source, target in (("one", "held"), ("other", "one"), ("held", "other")):
        os.rename(source, target)
    for source, target in (("other", "held"), ("one", "other"), ("held", "one")):
        os.rename(source, target)
"""


class WorkspaceContract(SandboxFixtures):
    """File operations, changes, diff, commit, discard."""

    def test_files(self, box: Sandbox) -> None:
        box.write("new/folder/f", b"\x00\xff")
        assert box.read("new/folder/f") == b"\x00\xff"
        assert (box.stat("new/folder/f").kind, box.stat("new/folder/f").size_bytes) == ("file", 2)
        assert (box.stat("escape").kind, box.stat("sub").kind) == ("link", "folder")
        assert [entry.name for entry in box.entries()] == ["a.txt", "escape", "new", "sub"]
        box.move("sub", "moved/here")
        assert box.read("moved/here/deep/c.txt") == b"c\n"
        box.delete("moved/here/b.txt")
        box.delete("escape")
        assert [entry.name for entry in box.entries("moved/here")] == ["deep"]

    def test_file_errors_are_not_sandbox_errors(self, box: Sandbox) -> None:
        for call in (box.read, box.delete, box.stat, box.entries):
            with pytest.raises(NotFound):
                call("nowhere")
        with pytest.raises(Invalid):
            box.read("sub")
        with pytest.raises(Invalid):
            box.delete("sub")
        with pytest.raises(Invalid):
            box.write("sub", b"")
        with pytest.raises(LimitExceeded):
            box.write("big", bytes((32 << 20) + 1))
        box.run("mkfifo pipe")
        with pytest.raises(Invalid):
            box.read("pipe")

    def test_mode_survives_a_write(self, box: Sandbox) -> None:
        box.run("echo '#!/bin/sh' > tool; chmod 755 tool")
        box.write("tool", b"#!/bin/sh\necho hello\n")
        assert box.run(["./tool"]).output == "hello\n"

    # Changes.

    def test_workspace_is_untouched_until_commit(self, box: Sandbox, workspace: Path) -> None:
        before = _tree(workspace)
        assert box.changes() == []
        box.run("echo 2 >> a.txt; rm -r sub; echo n > n; ln -s a.txt l; mkdir -p e/m/pty")
        assert _tree(workspace) == before
        kinds = {change.path: change.kind for change in box.changes()}
        assert kinds == {
            "a.txt": "modified",
            "l": "added",
            "n": "added",
            "sub/b.txt": "deleted",
            "sub/deep/c.txt": "deleted",
        }

    def test_commit(self, box: Sandbox, workspace: Path) -> None:
        box.run(
            "echo 2 >> a.txt; rm -r sub; mkdir sub; echo s > sub/s; ln -s a.txt l; echo x > x; chmod 755 x"
        )
        expected = {change.path for change in box.changes()}
        assert {change.path for change in box.commit()} == expected
        tree = _tree(workspace)
        assert tree["a.txt"] == "one\ntwo\nthree\n2\n"
        assert tree["sub/s"] == "s\n"
        assert tree["l"] == "-> a.txt"
        assert "sub/deep/c.txt" not in tree
        assert os.access(workspace / "x", os.X_OK)
        assert not os.access(workspace / "a.txt", os.X_OK)
        assert box.changes() == []
        box.run("echo 3 >> a.txt")
        assert [change.path for change in box.commit()] == ["a.txt"]
        assert _tree(workspace)["a.txt"].endswith("2\n3\n")

    def test_files_become_folders_and_links(self, box: Sandbox, workspace: Path) -> None:
        box.run(
            "rm -r a.txt sub escape; mkdir -p a.txt/in; echo i > a.txt/in/i; echo s > sub; echo e > escape"
        )
        box.commit()
        tree = _tree(workspace)
        assert tree == {"a.txt/in/i": "i\n", "sub": "s\n", "escape": "e\n"}
        assert box.changes() == []

    @pytest.mark.parametrize("edit", ["echo mine > a.txt", "rm a.txt"])
    def test_conflict(self, box: Sandbox, workspace: Path, edit: str) -> None:
        box.run(f"{edit}; echo other > other")
        (workspace / "a.txt").write_text("theirs\n")
        with pytest.raises(Conflict, match=r"`a\.txt`"):
            box.commit()
        assert (workspace / "a.txt").read_text() == "theirs\n"
        assert not (workspace / "other").exists()

    def test_conflict_of_two_new_files(self, box: Sandbox, workspace: Path) -> None:
        box.run("echo mine > new")
        (workspace / "new").write_text("theirs\n")
        with pytest.raises(Conflict, match="`new`"):
            box.commit()

    def test_commit_does_not_follow_links_outside(
        self, box: Sandbox, workspace: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        box.run("echo x > sub/new")
        (workspace / "sub").rename(workspace / "gone")
        (workspace / "sub").symlink_to(tmp_path / "elsewhere")
        with contextlib.suppress(Conflict, OSError):
            box.commit()
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_a_race_against_the_commit_leads_nowhere(
        self, provider: SandboxProvider, workspace: Path, tmp_path: Path
    ) -> None:
        """A folder and a link to one outside change places all the while: what is outside is not told."""
        outside = self._secret_folder(tmp_path)
        with provider.open(workspace) as box:
            job = box.start([self.python, "-c", _CHANGE_PLACES, str(outside), "1000"])
            while b"up" not in job.poll(0.1).data:
                pass
            for _ in range(50):
                with contextlib.suppress(Conflict):
                    assert "treasure" not in box.diff()
            with contextlib.suppress(Conflict):
                box.commit()
        assert [path.name for path in outside.iterdir()] == ["file"]
        assert (outside / "file").read_text() == "treasure"

    def test_control_who_follows_links_loses_that_race(self, tmp_path: Path) -> None:
        outside = self._secret_folder(tmp_path)
        (tmp_path / "here").mkdir()
        command = [sys.executable, "-c", _CHANGE_PLACES, str(outside), "20"]
        with subprocess.Popen(command, cwd=tmp_path / "here", stdout=subprocess.DEVNULL) as racing:
            said = ""
            while said != "treasure" and racing.poll() is None:
                with contextlib.suppress(OSError):
                    place = tmp_path / "here" / "one"
                    said = (place / "file").read_text() if not place.is_symlink() else ""
            racing.kill()
        assert said == "treasure"

    def _secret_folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        (folder / "file").write_text("treasure")
        return folder

    def test_commit_leaves_git_alone(self, box: Sandbox, workspace: Path) -> None:
        box.run(
            "mkdir -p .git/hooks sub/.git; echo evil > .git/hooks/pre-commit; echo evil > sub/.git/config;"
            "mkdir -p .GIT sub/.Git; echo evil > .GIT/config; echo evil > sub/.Git/config"
        )
        box.write("ok", b"ok")
        assert [change.path for change in box.commit()] == ["ok"]
        assert not (workspace / ".git").exists()
        assert not (workspace / "sub" / ".git").exists()
        # There are file systems on which these are the same.
        assert not (workspace / ".GIT").exists()
        assert not (workspace / "sub" / ".Git").exists()

    def test_discard(self, box: Sandbox, workspace: Path) -> None:
        before = _tree(workspace)
        box.run("rm -rf a.txt sub; echo x > x; echo t > /tmp/trace")
        box.discard()
        assert box.changes() == []
        assert box.run("cat a.txt sub/b.txt").output == "one\ntwo\nthree\nb\n"
        assert _tree(workspace) == before

    def test_nothing_is_left_for_whom_comes_after_a_discard(
        self, provider: SandboxProvider, box: Sandbox
    ) -> None:
        """Neither files, nor names in shared memory, nor a process."""
        if Promise.PROCESSES not in provider.promises:
            pytest.skip(f"{provider.name} shares all of that with the host")
        code = """
            import ctypes, os
            libc = ctypes.CDLL(None)
            assert libc.shmget(77, 4096, 0o1600) >= 0
            for path in ("/tmp/left", "/dev/shm/left", os.path.expanduser("~/.profile")):
                open(path, "w").write("left")
        """
        looking = """
            import ctypes, os
            libc = ctypes.CDLL(None)
            print(libc.shmget(77, 4096, 0) >= 0, end=" ")
            for path in ("/tmp/left", "/dev/shm/left", os.path.expanduser("~/.profile")):
                print(os.path.exists(path), end=" ")
        """
        job = box.start("echo up; sleep 1000")
        job.poll(5.0)
        assert box.run([self.python, "-c", textwrap.dedent(code)]).exit_code == 0
        look = [self.python, "-c", textwrap.dedent(looking)]
        assert box.run(look).output == "True " * 4
        assert "sleep" in box.run("cat /proc/[0-9]*/comm").output
        box.discard()
        assert box.run(look).output == "False " * 4
        assert "sleep" not in box.run("cat /proc/[0-9]*/comm").output

    def test_diff(self, box: Sandbox) -> None:
        box.run("sed -i s/two/2/ a.txt; printf n > n; rm sub/b.txt")
        assert box.diff() == textwrap.dedent(
            """\
            diff --git a/a.txt b/a.txt
            --- a/a.txt
            +++ b/a.txt
            @@ -1,3 +1,3 @@
             one
            -two
            +2
             three
            diff --git a/n b/n
            new file mode 100644
            --- /dev/null
            +++ b/n
            @@ -0,0 +1 @@
            +n
            \\ No newline at end of file
            diff --git a/sub/b.txt b/sub/b.txt
            deleted file mode 100644
            --- a/sub/b.txt
            +++ /dev/null
            @@ -1 +0,0 @@
            -b
            """
        )

    def test_folders_without_end(self, provider: SandboxProvider, state: Path, workspace: Path) -> None:
        """Too deep for a path, for a stack of calls, and for a descriptor at each level."""
        kept = sorted(state.iterdir())
        code = "import os\nfor _ in range(1100): os.mkdir('d' * 9); os.chdir('d' * 9)\nopen('f', 'w')"
        with provider.open(workspace) as box:
            assert box.run([self.python, "-c", code]).exit_code == 0
            for call in (box.changes, box.diff, box.commit):
                with pytest.raises(LimitExceeded, match="folders"):
                    call()
            assert box.run("rm -r d*").exit_code == 0
            assert box.changes() == []
            box.run([self.python, "-c", code])
        assert sorted(state.iterdir()) == kept
        assert sorted(path.name for path in workspace.iterdir()) == ["a.txt", "escape", "sub"]

    def test_a_folder_of_too_many_entries_is_refused_and_no_more(self, box: Sandbox) -> None:
        code = "import os\nfor n in range(20_001): os.mknod('many/' + 'n' * 200 + str(n))"
        box.run("mkdir many")
        assert box.run([self.python, "-c", code]).exit_code == 0
        with pytest.raises(LimitExceeded, match="entries"):
            box.entries("many")
        box.run("rm many/*77")
        assert 19_000 < len(box.entries("many")) < 20_000
        box.run("rm -r many")

    def test_a_file_of_holes_is_not_read_into_memory(self, box: Sandbox) -> None:
        box.run("truncate -s 1G holes")
        tracemalloc.start()
        try:
            for call in (box.changes, box.commit):
                with pytest.raises(LimitExceeded, match="holes"):
                    call()
            assert tracemalloc.get_traced_memory()[1] < 32 << 20
        finally:
            tracemalloc.stop()

    def test_odd_names(self, box: Sandbox, workspace: Path) -> None:
        escape = "\x1b]0;owned\x07"
        names = [
            escape,
            "+++ b\n@@ -1 +1 @@",
            "white space ",
            "new\nline",
            "quote\"'",
            "ünï",
            os.fsdecode(b"\xff\xfe"),
            "-rf",
            "a~weft",
        ]
        for name in names:
            box.write(name, b"x")
            assert box.read(name) == b"x"
        head = [line for line in box.diff().splitlines() if line[:1] != "+" or line[:4] == "+++ "]
        assert len([line for line in head if line.startswith("+++ ")]) == len(names)
        assert not any("\x1b" in line for line in head)
        assert {change.path for change in box.commit()} == set(names)
        assert all((workspace / name).read_bytes() == b"x" for name in names)


def _tree(root: Path) -> dict[str, str]:
    """Every file's text and every link's target below the root."""
    found = {}
    for path in root.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(root))] = f"-> {path.readlink()}"
        elif path.is_file():
            found[str(path.relative_to(root))] = path.read_text()
    return found
