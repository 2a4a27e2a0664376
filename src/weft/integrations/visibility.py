"""Permissions filter traversals: a node is visible to those who weft.authz says may see it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from weft.authz import EXACT, LATEST, Authz, Check, Zookie
from weft.authz.tuples import ObjectRef
from weft.authz.zookie import Latest
from weft.core.limits import MAX_CHECKS_PER_REQUEST
from weft.graph.model import NodeRef


class AuthzVisibility:
    """Fills `graph.traverse.visibility.LastingVisibility` for one reader, all at one zookie.

    A node of type T and id I is the object `T:I`. `permissions` names, per type, the permission that seeing
    it takes; types in `public` are seen by everybody; any other type is hidden. A conditional answer hides.
    `at` asks for answers at least as fresh; without it they are the newest at the first question.
    """

    def __init__(
        self,
        authz: Authz,
        subject: str,
        permissions: Mapping[str, str],
        *,
        public: Collection[str] = (),
        at: Zookie | None = None,
    ) -> None:
        self._authz = authz
        self._subject = subject
        self._permissions = dict(permissions)
        self._public = frozenset(public)
        self._at: Zookie | EXACT | Latest = LATEST if at is None else at

    @property
    def zookie(self) -> Zookie | str | None:
        """The point in time at which all answers hold; None before the first question."""
        return self._at.zookie if isinstance(self._at, EXACT) else None

    def now(self) -> AuthzVisibility:
        """The same reader's, with the newest answers."""
        return AuthzVisibility(self._authz, self._subject, self._permissions, public=self._public)

    def visible(self, nodes: Sequence[NodeRef]) -> list[bool]:
        """One answer per node. The first call fixes the point in time at which all answers hold."""
        asked = [place for place, node in enumerate(nodes) if node.type in self._permissions]
        answers = [node.type in self._public for node in nodes]
        for start in range(0, len(asked), MAX_CHECKS_PER_REQUEST):
            part = asked[start : start + MAX_CHECKS_PER_REQUEST]
            decisions = self._authz.check_many([self._question(nodes[place]) for place in part], at=self._at)
            self._at = EXACT(decisions[0].zookie)
            for place, decision in zip(part, decisions, strict=True):
                answers[place] = decision.allowed
        return answers

    def _question(self, node: NodeRef) -> Check:
        return Check(str(ObjectRef(node.type, node.id)), self._permissions[node.type], self._subject)
