"""What a command lacked in the sandbox, and what the policy or a person lets it have instead.

What is offered is read from the command's output, which may be forged; what is given is not. A place is shown
read-only and by the name that the person saw, and a command runs outside word for word as it was shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from weft.agent.checkpoints import Checkpoints
from weft.agent.commands import hosts, network_programs
from weft.agent.events import Decided
from weft.agent.gate import Gate
from weft.agent.policy import Access, Answer, Resource
from weft.agent.sandbox import Denial, Promise, Sandbox
from weft.agent.sandbox.shown import below_any, can_be_shown

_OR_OUTSIDE: Final = (Answer.ONCE, Answer.SESSION, Answer.OUTSIDE, Answer.REFUSE)


class Remedy(msgspec.Struct, frozen=True):
    """What a command has beyond the sandbox of its session: places that it sees, or all that is outside."""

    places: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    """Names by which the command reaches them, through links."""
    outside: bool = False

    def shown(self) -> list[str]:
        """The paths to show: an alias that leads elsewhere by now is none of them."""
        return [*self.places, *(alias for alias in self.aliases if os.path.realpath(alias) in self.places)]

    def __str__(self) -> str:
        if self.outside:
            return "outside the sandbox"
        return f"with {' and '.join(f'`{place}`' for place in self.places)} to read"


NOTHING: Final = Remedy()

Opener = Callable[[Remedy, Sequence[str]], Sandbox]
"""Opens a fresh sandbox on the workspace that has a remedy, and hides these paths."""


class Offers:
    """Puts what a command lacked to the policy, and by it to a person."""

    def __init__(self, gate: Gate, box: Sandbox, workspace: Path) -> None:
        self._gate = gate
        self._promises = box.promises
        self._workspace = str(workspace.resolve())

    def foreseen(self, command: str) -> tuple[Denial, ...]:
        """What a command would lack, told from its programs."""
        if Promise.NETWORK not in self._promises:
            return ()
        named = ", ".join(hosts(command))
        return tuple(
            Denial("network", f"`{program}` needs it", named) for program in network_programs(command)
        )

    def ask(
        self, step: int, call: str, tool: str, command: str, lacked: Sequence[Denial], had: Remedy
    ) -> tuple[list[Decided], Remedy | None]:
        """What was decided, and what the command may have in its next try; None where that is no more than
        it had. Where a person refuses one thing, or is not there, no other is asked for."""
        outside = Access("run_outside", Resource("command", command))
        answers = _OR_OUTSIDE if self._gate.may_allow(tool, outside) else None
        decided: list[Decided] = []
        places, wanted = list(had.places), self._places(lacked, had)
        for place in wanted:
            see = Access("see", Resource("place", place))
            because = f", read-only: `{command}` failed without it"
            found = self._gate.decide(step, call, tool, see, because=because, answers=answers)
            decided.append(found)
            if found.answer is Answer.OUTSIDE:
                reason = f"asked for `{place}`, a person said: {found.answer.value}"
                allowed = msgspec.structs.replace(found, access=outside, effect="allow", reason=reason)
                return [*decided, allowed], Remedy(outside=True)
            if found.effect == "allow":
                places.append(place)
            elif found.asked:
                return decided, None
        if len(places) > len(had.places):
            aliases = (alias for place in places for alias in wanted.get(place, ()))
            return decided, Remedy(tuple(places), (*had.aliases, *aliases))
        if missed := self._elsewhere(command, lacked, had):
            because = f", with your rights: it lacked {missed}"
            found = self._gate.decide(step, call, tool, outside, because=because)
            return [*decided, found], Remedy(outside=True) if found.effect == "allow" else None
        return decided, None

    def _places(self, lacked: Sequence[Denial], had: Remedy) -> dict[str, list[str]]:
        """The places that can be shown, by the names that they have without links; and their other names."""
        found: dict[str, list[str]] = {}
        for named in (denial.target for denial in lacked if denial.kind == "place"):
            place = os.path.realpath(named)
            if place not in had.places and can_be_shown(place, self._workspace, os.environ):
                found.setdefault(place, []).extend([named] if named != place else [])
        return found

    def _elsewhere(self, command: str, lacked: Sequence[Denial], had: Remedy) -> str:
        """What only a command outside the sandbox has, in words; empty for nothing.

        A path of the workspace is refused inside and outside alike, and one that nobody names may be.
        """
        words: dict[str, None] = {}
        for denial in lacked:
            target = denial.target
            match denial.kind:
                case "network":
                    named = target or ", ".join(hosts(command))
                    words[f"the network ({named})" if named else "the network"] = None
                case "call":
                    words[f"the system call `{target}`" if target else "a system call"] = None
                case "path" if self._is_outside(target, had):
                    words[f"the right to `{target}`"] = None
                case "place" if os.path.lexists(target):
                    words[f"`{target}`"] = None
        return " and ".join(words)

    def _is_outside(self, path: str, had: Remedy) -> bool:
        own = below_any(path, [self._workspace, "/tmp", "/dev"])
        return path.startswith("/") and (not own or below_any(path, had.places))


class Elsewhere:
    """Other sandboxes on the same files: what a command changes there is changed in the session's own."""

    def __init__(self, open_box: Opener, box: Sandbox, checkpoints: Checkpoints, gate: Gate) -> None:
        self._open_box = open_box
        self._box = box
        self._checkpoints = checkpoints
        self._gate = gate

    @contextmanager
    def box(self, remedy: Remedy) -> Iterator[Sandbox]:
        """The session's own sandbox for no remedy, else one that has it; its /tmp is empty, and what runs in
        the session's own goes on there."""
        if remedy == NOTHING:
            yield self._box
            return
        before = self._checkpoints.save(self._box.changes())
        with self._open_box(remedy, self._gate.hidden()) as other:
            self._checkpoints.restore(other, before)
            yield other
            other.end_jobs()
            after = self._checkpoints.save(other.changes())
        self._checkpoints.follow(self._box, before, after)
