"""What the agent may do: the permissions of the data folder where they speak of agents, else the rules."""

from __future__ import annotations

import getpass
import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from weft.agent.events import AnyEvent, SessionStarted
from weft.agent.policy import Access, Allow, Ask, Decision, Deny, Policy, Question, Resource, RulePolicy
from weft.core.errors import Invalid
from weft.core.settings import Settings

if TYPE_CHECKING:
    from weft.authz import Authz

# What a session may do at all; its user's rights bound it further, and landing takes an approval.
_OF_A_SESSION: Final = ("reader", "writer", "runner")
# What every schema of agents has had.
_SPEAKS: Final = {
    "workspace": {"read", "write", "run", "land"},
    "path": {"read", "write", "hidden", "frozen"},
}


class Permissions(NamedTuple):
    """The policy, and how a session comes by its rights."""

    policy: Policy
    user: str
    grant: Callable[[str], object]

    def on_event(self, event: AnyEvent) -> None:
        """Let a session that has just begun do what its user may."""
        if isinstance(event, SessionStarted) and event.because != "explore":
            self.grant(event.session)


class LandUnasked:
    """Another policy, for a person who said beforehand that a verified change is to land."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def decide(self, question: Question) -> Decision:
        decision = self._policy.decide(question)
        if isinstance(decision, Ask) and question.access.action == "land":
            return Allow("the person asked for it beforehand")
        return decision

    def approve(self, session: str, access: Access, for_s: float) -> object:
        return self._policy.approve(session, access, for_s)

    def hidden(self, session: str, user: str) -> Sequence[str]:
        return self._policy.hidden(session, user)


class Apart:
    """Another policy, but for weft's own data, which nothing may see or change: a change that lands there
    could widen rights, and other sessions are nobody's business."""

    def __init__(self, policy: Policy, data: Path, workspace: Path) -> None:
        self._policy = policy
        self._data = data.as_posix()
        inside = data.is_relative_to(workspace) and data != workspace
        self._folder = data.relative_to(workspace).as_posix() if inside else None

    def decide(self, question: Question) -> Decision:
        if self._is_own(question.access.resource):
            return Deny(f"`{question.access.resource.name}` belongs to weft itself")
        return self._policy.decide(question)

    def approve(self, session: str, access: Access, for_s: float) -> object:
        return self._policy.approve(session, access, for_s)

    def hidden(self, session: str, user: str) -> Sequence[str]:
        own = [self._folder] if self._folder else []
        return [*own, *self._policy.hidden(session, user)]

    def _is_own(self, resource: Resource) -> bool:
        match resource.kind:
            case "file":
                return self._folder is not None and _is_below(resource.name, self._folder)
            case "place":
                return _is_below(resource.name, self._data) or _is_below(self._data, resource.name)
        return False


@contextmanager
def permissions(settings: Settings, workspace: Path, *, land_unasked: bool = False) -> Iterator[Permissions]:
    """Who may do what in a workspace, which has its folder's name there."""
    with ExitStack() as stack:
        found = _in_force(settings.data / "authz", workspace.resolve(), stack)
        policy: Policy = Apart(found.policy, settings.data.resolve(), workspace.resolve())
        yield found._replace(policy=LandUnasked(policy) if land_unasked else policy)


def _in_force(folder: Path, workspace: Path, opened: ExitStack) -> Permissions:
    user = f"user:{getpass.getuser()}"
    if folder.is_dir():
        from weft.authz import Authz
        from weft.integrations.policy import AuthzPolicy

        authz = opened.enter_context(Authz.open(str(folder)))
        if _speaks_of_agents(authz):
            policy = AuthzPolicy(authz, workspace.name or "root")
            return Permissions(
                policy, user, lambda session: policy.grant(f"session:{session}", *_OF_A_SESSION)
            )
    return Permissions(RulePolicy(), user, lambda session: None)


def _speaks_of_agents(authz: Authz) -> bool:
    """Whether the schema in force says what agents may do in a workspace; other definitions may stand beside
    it. What a schema that is older than the agent's own does not know is denied."""
    from weft.authz.schema import Language, parse_schema

    try:
        version = authz.read_schema()
    except Invalid:  # there is none yet
        return False
    have = parse_schema(version.text, cast(Language, version.language)).by_name
    return all(name in have and relations <= have[name].by_name.keys() for name, relations in _SPEAKS.items())


def _is_below(name: str, folder: str) -> bool:
    place = posixpath.normpath(name)
    return place == folder or place.startswith(f"{folder.rstrip('/')}/")
