"""How long does a workspace of one's own take to make, to compare, to take over and to throw away?"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from _report import Report, elapsed_s, scale_from_arguments

from weft.agent.sandbox import Sandbox, namespaces
from weft.agent.sandbox.inside import kernel, plan, rootfs
from weft.agent.sandbox.namespaces import Namespaces

MB = 1 << 20
SIZES = {1: 5, 100: 5, 1_000: 2}
"""Megabytes of files, as many again of git's objects, and how often each way takes its turn."""
FILE_BYTES = 20_000
FILES_PER_FOLDER = 50
EDITED = "d0/f0.txt"
STEPS = ("create", "edit and diff", "take over", "throw away")

ALONE = 20
"""How often the mount by itself is timed."""

edits = count()


def git(folder: Path, *arguments: str) -> str:
    settings = [
        "-c",
        "user.name=x",
        "-c",
        "user.email=x",
        "-c",
        "core.compression=0",
        "-c",
        "core.fsync=none",
    ]
    command = ["git", *settings, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def repository(folder: Path, size_bytes: int) -> None:
    """Files of text, no two alike, in folders, committed."""
    rng = random.Random(size_bytes)
    for number in range(max(1, size_bytes // FILE_BYTES)):
        path = folder / f"d{number // FILES_PER_FOLDER}" / f"f{number % FILES_PER_FOLDER}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{rng.randbytes(FILE_BYTES // 100).hex()}\n" * 50)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "all")


def edit(path: Path) -> None:
    path.write_text(path.read_text() + f"{next(edits)}\n")


class Weft:
    """A sandbox around the repository, by an overlay or, as on file systems without one, by copies."""

    def __init__(self, state: Path, *, overlay: bool) -> None:
        self._provider = Namespaces(state=str(state))
        self._overlay = overlay
        self._box: Sandbox

    def create(self, repo: Path, place: Path) -> None:
        can_be_lower = namespaces.can_be_lower
        if not self._overlay:
            namespaces.can_be_lower = lambda root: False
        self._box = self._provider.open(repo)
        namespaces.can_be_lower = can_be_lower

    def compare(self, repo: Path, place: Path) -> str:
        self._box.write(EDITED, self._box.read(EDITED) + b"%d\n" % next(edits))
        return self._box.diff()

    def take_over(self, repo: Path, place: Path) -> None:
        assert len(self._box.commit()) == 1

    def throw_away(self, repo: Path, place: Path) -> None:
        self._box.close()


class Worktree:
    """A second tree of files of the same repository, and a branch that is merged."""

    def create(self, repo: Path, place: Path) -> None:
        git(repo, "worktree", "add", "-q", "--detach", str(place))

    def compare(self, repo: Path, place: Path) -> str:
        edit(place / EDITED)
        return git(place, "diff")

    def take_over(self, repo: Path, place: Path) -> None:
        git(place, "commit", "-q", "-a", "-m", "edit")
        git(repo, "merge", "-q", "--ff-only", git(place, "rev-parse", "HEAD").strip())

    def throw_away(self, repo: Path, place: Path) -> None:
        git(repo, "worktree", "remove", "--force", str(place))


class Copy:
    """All files copied, objects too; what changed is taken over by git, as a patch."""

    def create(self, repo: Path, place: Path) -> None:
        subprocess.run(["cp", "-a", "--reflink=auto", str(repo), str(place)], check=True)

    def compare(self, repo: Path, place: Path) -> str:
        edit(place / EDITED)
        return git(place, "diff")

    def take_over(self, repo: Path, place: Path) -> None:
        patch = place.with_suffix(".patch")
        patch.write_text(git(place, "diff"))
        git(repo, "apply", str(patch))
        patch.unlink()

    def throw_away(self, repo: Path, place: Path) -> None:
        subprocess.run(["rm", "-rf", str(place)], check=True)


class Clone(Copy):
    """A clone that borrows the objects."""

    def create(self, repo: Path, place: Path) -> None:
        git(repo, "clone", "-q", "--shared", str(repo), str(place))


Way = Weft | Worktree | Copy


def turn(way: Way, repo: Path, place: Path) -> list[float]:
    """Seconds that each step takes; the repository is as before at the end, but for its history."""
    told: list[str] = []
    steps: list[Callable[[], object]] = [
        lambda: way.create(repo, place),
        lambda: told.append(way.compare(repo, place)),
        lambda: way.take_over(repo, place),
        lambda: way.throw_away(repo, place),
    ]
    seconds = [elapsed_s(step) for step in steps]
    assert told[0].count("\n+") == 2, told
    assert not place.exists()
    git(repo, "checkout", "-q", ".")
    return seconds


def alone_s(repo: Path, place: Path) -> float:
    """Seconds for the layers and the mount of a workspace, which is what a sandbox takes for it."""
    ours, theirs = os.pipe()
    pid = kernel.clone(kernel.CLONE_NEWNS)
    if pid == 0:
        tree = plan.Plan("scratch")
        tree.mount(None, "/", kernel.MS_REC | kernel.MS_PRIVATE)
        tree.mount("tmpfs", "/proc", kernel.MS_NOSUID | kernel.MS_NODEV)
        plan.run(tree.raw())
        layers = rootfs.upper(str(place), owner=None, mode=0o755)
        ground = rootfs.ground(workspace=str(repo), copy=None, covered=(), idmapped=False)
        os.write(theirs, struct.pack("d", elapsed_s(lambda: plan.run(layers + ground))))
        os._exit(0)
    os.close(theirs)
    os.waitpid(pid, 0)
    with open(ours, "rb") as told:
        [seconds] = struct.unpack("d", told.read())
    shutil.rmtree(place)
    return float(seconds)


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    with scratch() as top:
        (top / "state").mkdir()
        ways: dict[str, Way] = {
            "weft, overlay": Weft(top / "state", overlay=True),
            "weft, copies": Weft(top / "state", overlay=False),
            "git worktree": Worktree(),
            "cp -a": Copy(),
            "git clone --shared": Clone(),
        }
        for megabytes, turns in SIZES.items():
            repo = top / "repo"
            repo.mkdir()
            repository(repo, int(megabytes * MB * scale))
            turn(ways["weft, overlay"], repo, top / "place")
            rounds = range(max(1, round(turns * min(1, scale))))
            runs = [[turn(way, repo, top / "place") for way in ways.values()] for _ in rounds]
            if os.geteuid() == 0:
                alone = [alone_s(repo, top / "place") for _ in range(ALONE)]
                report.add(f"{megabytes:,} MB: the workspace alone", statistics.median(alone) * 1e3, "ms")
            for number, step in enumerate(STEPS):
                for at, name in enumerate(ways):
                    value_s = statistics.median(run[at][number] for run in runs)
                    floor = "" if at == 0 else f"{megabytes:,} MB, {step}: weft, overlay"
                    report.add(f"{megabytes:,} MB, {step}: {name}", value_s * 1e3, "ms", floor=floor)
            shutil.rmtree(repo)
    report.note(f"Files of {FILE_BYTES:,} bytes; in TMPDIR, warm, nothing synced to disk.")
    report.note("weft's times include the whole sandbox: namespaces, Landlock, seccomp, and its end.")
    report.print()


if __name__ == "__main__":
    main()
