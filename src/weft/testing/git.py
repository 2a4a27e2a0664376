"""Real git repositories for tests, with known authors and times."""

import os
import subprocess
from pathlib import Path


class Repository:
    """A git repository whose commits are a second apart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seconds = 1_700_000_000
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str, who: str = "ann") -> str:
        self._seconds += 1
        stamp = f"{self._seconds} +0000"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": who,
            "GIT_AUTHOR_EMAIL": f"{who}@example.org",
            "GIT_COMMITTER_NAME": who,
            "GIT_COMMITTER_EMAIL": f"{who}@example.org",
            "GIT_AUTHOR_DATE": stamp,
            "GIT_COMMITTER_DATE": stamp,
        }
        done = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def many_commits(self, number: int) -> None:
        """Append commits that each change one or two of some hundred files, through `git fast-import`."""
        rows = []
        head = "from refs/heads/main^0\n"
        for index in range(number):
            self._seconds += 1
            who = f"dev{index % 17} <dev{index % 17}@example.org> {self._seconds} +0000"
            rows.append(f"commit refs/heads/main\nauthor {who}\ncommitter {who}\ndata 1\nx\n{head}")
            for name in sorted(
                {f"pkg{index % 10}/m{index * 7 % 10}.txt", f"pkg{index % 3}/n{index % 5}.txt"}
            ):
                text = f"line {index}\n"
                rows.append(f"M 100644 inline {name}\ndata {len(text)}\n{text}")
            rows.append("\n")
            head = ""
        subprocess.run(
            ["git", "-C", str(self.folder), "fast-import", "--quiet"],
            input="".join(rows).encode(),
            check=True,
        )
        self.git("reset", "--quiet", "--hard")

    def commit(self, files: dict[str, str | None], who: str = "ann", message: str = "change") -> None:
        """Write files (None deletes) and commit them."""
        for name, text in files.items():
            path = self.folder / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self.git("add", "--all", who=who)
        self.git("commit", "--quiet", "--message", message, who=who)
