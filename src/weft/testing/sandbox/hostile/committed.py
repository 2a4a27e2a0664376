"""Attempts to harm, by what is committed, whoever works with the real workspace afterwards."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from typing import Final

from weft.agent.sandbox import Promise
from weft.testing.sandbox.attempt import Attempt
from weft.testing.sandbox.outside import Outside


def _left(name: str, code: str, seen: Callable[[Outside], bool]) -> Attempt:
    return Attempt(name, Promise.CHANGES, code, seen=seen, commit=True)


def _planted(name: str, settings: str, file: str = "planted") -> Attempt:
    """A program for git to run outside, named by the repository that the workspace is."""
    code = f"""
        with open({file!r}, 'w') as file:
            file.write('#!/bin/sh\\ntouch "' + OUTSIDE + '/canary"\\n')
        os.chmod({file!r}, 0o755)
        with open(WORKSPACE + '/.git/config', 'a') as file:
            file.write({settings!r}.format(os.getcwd()))
        """
    return _left(name, code, _git_runs_it)


def _git_runs_it(outside: Outside, folder: str = ".") -> bool:
    """Whether git does what was planted, as a person's shell prompt or editor calls it."""
    who = {
        "GIT_AUTHOR_NAME": "x",
        "GIT_AUTHOR_EMAIL": "x",
        "GIT_COMMITTER_NAME": "x",
        "GIT_COMMITTER_EMAIL": "x",
    }
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(outside.folder), **who}
    for command in (["status"], ["add", "a.txt"], ["diff", "--cached"], ["commit", "-q", "-m", "x"]):
        subprocess.run(
            ["git", "-c", "safe.directory=*", *command],
            cwd=outside.workspace / folder,
            env=environment,
            capture_output=True,
            check=False,
        )
    canary = outside.folder / "canary"
    found = canary.exists()
    canary.unlink(missing_ok=True)
    return found


def _modes(outside: Outside) -> Iterator[tuple[str, int]]:
    for folder, folders, files in os.walk(outside.workspace):
        for name in folders + files:
            if name not in ("handout", "pipe") and ".git" not in folder:
                yield name, os.lstat(os.path.join(folder, name)).st_mode


def _mode_has(bits: int) -> Callable[[Outside], bool]:
    return lambda outside: any(mode & bits for _, mode in _modes(outside) if not stat.S_ISLNK(mode))


def _is_special(outside: Outside) -> bool:
    known = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
    return any(stat.S_IFMT(mode) not in known for _, mode in _modes(outside))


def _has_attributes(outside: Outside) -> bool:
    return any(os.listxattr(path) for path in outside.workspace.rglob("marked"))


COMMITTED: Final = [
    _left(
        "git_hook",
        """
        hook = WORKSPACE + '/.git/hooks/pre-commit'
        os.makedirs(os.path.dirname(hook), exist_ok=True)
        with open(hook, 'w') as file:
            file.write('#!/bin/sh\\ntouch "' + OUTSIDE + '/canary"\\n')
        os.chmod(hook, 0o755)
        """,
        _git_runs_it,
    ),
    _planted("git_hooks_elsewhere", '[core]\n hooksPath = "{}"\n', "pre-commit"),
    _planted("git_file_monitor", "[core]\n fsmonitor = \"'{}/planted'\"\n"),
    _planted("git_external_diff", "[diff]\n external = \"'{}/planted'\"\n"),
    _left(
        "git_repository_in_a_folder",
        """
        os.makedirs('.git/objects'); os.mkdir('.git/refs')
        for name, text in (
            ('HEAD', 'ref: refs/heads/main\\n'),
            ('config', '[core]\\n fsmonitor = "touch ' + OUTSIDE + '/canary"\\n'),
        ):
            with open('.git/' + name, 'w') as file:
                file.write(text)
        open('file', 'w').close()
        """,
        lambda outside: _git_runs_it(outside, "git_repository_in_a_folder"),
    ),
    _left(
        "git_repository_by_reference",
        """
        os.makedirs('other/objects'); os.mkdir('other/refs')
        for name, text in (
            ('other/HEAD', 'ref: refs/heads/main\\n'),
            ('other/config', '[core]\\n bare = false\\n fsmonitor = "touch ' + OUTSIDE + '/canary"\\n'),
            ('.git', 'gitdir: other\\n'),
        ):
            with open(name, 'w') as file:
                file.write(text)
        """,
        lambda outside: _git_runs_it(outside, "git_repository_by_reference"),
    ),
    _left(
        "git_repository_without_its_name",
        """
        os.mkdir('objects'); os.mkdir('refs')
        settings = '[core]\\n repositoryformatversion = 0\\n bare = false\\n worktree = .\\n'
        settings += ' fsmonitor = "touch \\'' + OUTSIDE + '/canary\\'"\\n'
        for name, text in (
            ('HEAD', 'ref: refs/heads/main\\n'),
            ('config', settings),
            ('objects/keep', ''),
            ('refs/keep', ''),
        ):
            with open(name, 'w') as file:
                file.write(text)
        """,
        lambda outside: _git_runs_it(outside, "git_repository_without_its_name"),
    ),
    _left(
        "note_of_a_commit",
        "open(WORKSPACE + '/.weft-commit', 'wb').write(b'\\x90')",
        lambda outside: (outside.workspace / ".weft-commit").exists(),
    ),
    _left("setuid_bit", "open('f', 'w').close(); os.chmod('f', 0o4755)", _mode_has(stat.S_ISUID)),
    _left("setgid_bit", "open('f', 'w').close(); os.chmod('f', 0o2755)", _mode_has(stat.S_ISGID)),
    _left("file_for_everybody", "open('f', 'w').close(); os.chmod('f', 0o666)", _mode_has(stat.S_IWOTH)),
    _left(
        "folder_for_everybody",
        "os.mkdir('f'); open('f/f', 'w').close(); os.chmod('f', 0o777)",
        _mode_has(stat.S_IWOTH),
    ),
    _left(
        "attribute_of_a_file",
        "open('marked', 'w').close(); os.setxattr('marked', 'user.weft', b'x')",
        _has_attributes,
    ),
    _left(
        "attribute_of_an_overlay",
        """
        os.mkdir('marked'); open('marked/f', 'w').close()
        os.setxattr('marked', 'user.overlay.redirect', b'/etc')
        """,
        _has_attributes,
    ),
    _left("left_pipe", "os.mkfifo('left')", _is_special),
    _left("left_socket", "socket.socket(socket.AF_UNIX).bind('left')", _is_special),
    _left("left_whiteout", "os.mknod('left', stat.S_IFCHR | 0o600, 0)", _is_special),
    _left(
        "two_names_of_a_file",
        "open('one', 'w').close(); os.link('one', 'two')",
        lambda outside: any(path.stat().st_nlink > 1 for path in outside.workspace.rglob("one")),
    ),
]
