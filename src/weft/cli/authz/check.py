"""`weft authz check` and `explain`: one decision, and the reasons for it."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import typer

from weft.authz import Decision
from weft.authz.explain import Explanation
from weft.cli.authz.options import (
    At,
    Context,
    Contextual,
    Data,
    Exact,
    Latest,
    ObjectName,
    RelationName,
    UserName,
    circumstances,
    open_authz,
)
from weft.cli.authz.output import decision_fields, verdict
from weft.cli.output import Json, emit

DENIED: Final = 1
CONDITIONAL: Final = 3


def check(
    object_: ObjectName,
    relation: RelationName,
    user: UserName,
    explain: Annotated[bool, typer.Option("--explain", help="Say why, too.")] = False,
    context: Context = None,
    contextual: Contextual = None,
    at: At = None,
    exact: Exact = False,
    latest: Latest = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Ask whether a user is in a relation. Exits with 0 allowed, 1 denied, 3 conditional, 2 for an error.

    Example: weft authz check doc:1 view user:ann --context '{"region": "eu"}'
    """
    asked = circumstances(at, exact, latest, context, contextual)
    with open_authz(data) as authz:
        if explain:
            explanation = authz.explain(object_, relation, user, **asked)
            _show(explanation, json)
            decision = explanation.decision
        else:
            decision = authz.check(object_, relation, user, **asked)
            emit(json, decision_fields(decision), verdict(decision))
    raise typer.Exit(_exit_code(decision))


def explain(
    object_: ObjectName,
    relation: RelationName,
    user: UserName,
    context: Context = None,
    contextual: Contextual = None,
    at: At = None,
    exact: Exact = False,
    latest: Latest = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Say why a user is in a relation or not, and which tuples would have allowed it.

    Example: weft authz explain doc:1 view user:ann
    """
    asked = circumstances(at, exact, latest, context, contextual)
    with open_authz(data) as authz:
        _show(authz.explain(object_, relation, user, **asked), json)


def _show(explanation: Explanation, json: bool) -> None:
    decision = explanation.decision
    fields: dict[str, Any] = {
        **decision_fields(decision),
        "reason": msgspec.to_builtins(explanation.reason),
        "would_allow": explanation.would_allow,
        "loop": explanation.loop,
    }
    emit(json, fields, f"{verdict(decision)}\n\n{explanation}")


def _exit_code(decision: Decision) -> int:
    if decision.conditional:
        return CONDITIONAL
    return 0 if decision.allowed else DENIED
