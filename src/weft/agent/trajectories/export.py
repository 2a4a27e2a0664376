"""Sessions out of a store, one JSON document a line, in any of the four formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal, get_args

import msgspec

from weft.agent.models.protocol import ToolSpec
from weft.agent.secrets import redact_plain
from weft.agent.session import SessionStore
from weft.agent.state import State
from weft.agent.trajectories.atif import atif
from weft.agent.trajectories.chat import chats
from weft.agent.trajectories.steps import steps
from weft.agent.trajectories.triples import triples
from weft.core.errors import Invalid, NotFound

Format = Literal["chat", "atif", "triples", "steps"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


def export(
    store: SessionStore,
    sessions: Iterable[str],
    format: Format,  # noqa: A002
    *,
    tools: Sequence[ToolSpec] = (),
    only_ok: bool = False,
    repeat_search_replace: int = 1,
) -> Iterator[bytes]:
    """JSON Lines, each with its line end.

    `chat`: OpenAI's chat format for fine-tuning, a line for each window that a session had. `atif`: the Agent
    Trajectory Interchange Format, a line for each session with its sub-agents inside. `triples`: original
    file, edit and final file, a line for each edit that was made and file that it changed; those by search
    and replace, which models find hardest, come `repeat_search_replace` times. `steps`: what was seen, done
    and rewarded, a line for each step.

    `tools` are written beside chats and ATIF documents. With `only_ok` sessions that did not end well are
    left out. Secrets that weft recognises are taken out of every line.
    """
    if format not in FORMATS:
        raise Invalid(f"`{format}` is no format of trajectories", hint=f"use one of {', '.join(FORMATS)}")
    if repeat_search_replace < 1:
        raise Invalid(
            f"`{repeat_search_replace}` is no number of repetitions", hint="repeat once or more often"
        )
    for session in sessions:
        events = store.events(session)
        if not events:
            raise NotFound(f"there is no session `{session}`", hint="list the sessions to see their ids")
        ended = State(events).ended
        if only_ok and not (ended and ended.ok):
            continue
        documents: Iterable[dict[str, Any]]
        match format:
            case "chat":
                documents = chats(events, tools)
            case "atif":
                documents = [atif(store, session, tools)]
            case "triples":
                documents = triples(store, events, repeat_search_replace)
            case "steps":
                documents = steps(events)
        for document in documents:
            yield msgspec.json.encode(redact_plain(document)) + b"\n"
