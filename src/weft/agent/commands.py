"""What a shell command would start, read from the command and not from its first word."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Final

_ENDS: Final = frozenset({";", "&", "&&", "|", "||", "|&", ";;", "(", ")", "{", "}", "\n", "!"})
_OPENERS: Final = frozenset({"if", "then", "else", "elif", "while", "until", "do", "time", "!", "{", "("})
_WRAPPERS: Final = frozenset(
    {"env", "sudo", "doas", "nohup", "nice", "timeout", "xargs", "exec", "command", "time"}
)
_SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ksh"})
_NETWORK: Final = frozenset(
    {"curl", "wget", "ssh", "scp", "sftp", "ftp", "telnet", "nc", "ncat", "netcat", "socat", "ping", "rsync"}
)
_NETWORK_VERBS: Final = {
    "git": {"clone", "fetch", "pull", "push"},
    "pip": {"install", "download"},
    "pip3": {"install", "download"},
    "npm": {"install", "ci", "publish"},
    "docker": {"pull", "push", "login"},
}
_MAX_NESTING: Final = 4
# Words that a shell takes as they are, and operators; blanks between them are of no meaning.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_@%+=:,./&|; \t-]*")
_HOST: Final = re.compile(r"(?:[a-z][a-z0-9+.-]*://(?:[^/@\s]*@)?|^[\w.-]+@)([A-Za-z0-9.-]*[A-Za-z0-9])")

_PIPE: Final = re.compile(r"(?<!\|)\|(?!\|)")


def identity(command: str) -> str:
    """The command in the form that an approval is for.

    Two commands are the same where a shell would see no difference: blanks between plain words. With quotes,
    expansions, redirections or lines in them they are the same only letter by letter, since what looks alike
    there may do something else; a command within another one, or behind a prefix, is never the same.
    """
    return " ".join(command.split()) if _PLAIN.fullmatch(command) else command


def hosts(command: str) -> list[str]:
    """The hosts that a command's words name, in URLs and as `git@HOST:PATH`."""
    words = (word for words in simple_commands(command) for word in words)
    return list(dict.fromkeys(found[1].lower() for word in words for found in _HOST.finditer(word)))


def network_programs(command: str) -> list[str]:
    """The programs of a command that are of no use without the network, as `git push` or `curl`.

    A courtesy that gives an early and clear answer; the sandbox is what keeps a command off the network.
    """
    found = []
    for words in simple_commands(command):
        program = words[0].rsplit("/", 1)[-1].lower()
        verb = next((word for word in words[1:] if not word.startswith("-")), "")
        if program in _NETWORK:
            found.append(program)
        elif verb in _NETWORK_VERBS.get(program, ()):
            found.append(f"{program} {verb}")
        elif program.startswith("python") and words[1:4] == ["-m", "pip", "install"]:
            found.append("pip install")
    return found


def simple_commands(command: str, nesting: int = 0) -> Iterator[list[str]]:
    """The words of each simple command: behind operators, wrappers, in subshells, substitutions and `sh -c`.

    A command that does not parse is given as its plain words."""
    for words in _split(command):
        stripped = _without_wrappers(words)
        if not stripped:
            continue
        yield stripped
        if nesting >= _MAX_NESTING:
            continue
        if stripped[0].rsplit("/", 1)[-1] in _SHELLS and "-c" in stripped[1:-1]:
            yield from simple_commands(stripped[stripped.index("-c") + 1], nesting + 1)
    if nesting < _MAX_NESTING:
        for inner in _substitutions(command):
            yield from simple_commands(inner, nesting + 1)


def has_pipe(command: str) -> bool:
    """Whether a program's failure may be hidden behind the success of the one that reads from it."""
    return any(set(token) <= set("();|&") and _PIPE.search(token) for token in _tokens(command, quotes=True))


def _tokens(command: str, *, quotes: bool = False) -> list[str]:
    """Words and operators; with `quotes`, those that stand in the command are left in its words."""
    lexer = shlex.shlex(command.replace("\n", " ; "), posix=not quotes, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        return command.split()


def _split(command: str) -> Iterator[list[str]]:
    words: list[str] = []
    for token in _tokens(command):
        if token in _ENDS or (token and set(token) <= set("();|&")):
            if words:
                yield words
            words = []
        else:
            words.append(token)
    if words:
        yield words


def _without_wrappers(words: list[str]) -> list[str]:
    at = 0
    while at < len(words):
        word = words[at]
        bare = word.rsplit("/", 1)[-1]
        behind_wrapper = at > 0 and any(w.rsplit("/", 1)[-1] in _WRAPPERS for w in words[:at])
        assignment = "=" in word and word.split("=", 1)[0].isidentifier()
        option = behind_wrapper and (word.startswith("-") or word.rstrip("smhd").replace(".", "").isdigit())
        if bare in _WRAPPERS or word in _OPENERS or assignment or option:
            at += 1
        else:
            break
    return words[at:]


def _substitutions(command: str) -> Iterator[str]:
    """Those that stand in no other: what is inside them is looked at in its turn."""
    parts = command.split("`")
    yield from parts[1::2]
    at = command.find("$(")
    while at >= 0:
        depth, end = 1, at + 2
        while end < len(command) and depth:
            depth += {"(": 1, ")": -1}.get(command[end], 0)
            end += 1
        yield command[at + 2 : end - 1]
        at = command.find("$(", end)
