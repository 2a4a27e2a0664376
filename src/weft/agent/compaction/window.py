"""Which messages of a window stay, and what takes the place of the others.

    before   instructions, task, m, m, m, m, m, m, m, m, m
    after    instructions, task, summary,          m', m, m

The instructions and the task stay as they are, byte for byte, so that what a provider has cached of them
still counts; then comes what the session knows (`facts`), then the newest turns. A turn is a reply with the
answers to all its calls: no answer ever stands without its call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from weft.agent.compaction.facts import facts
from weft.agent.compaction.sections import Keep, told
from weft.agent.events import AnyEvent, Compacted
from weft.agent.models.protocol import Message
from weft.agent.models.tokens import CHARS_PER_TOKEN, message_tokens
from weft.agent.tools.output import clipped

_HEAD_MESSAGES: Final = 2
_SUMMARY_SHARE: Final = 0.55
"""Of the room behind the task; the rest is for the newest turns."""
_REPEATED_CHARS: Final = 200
_LONG_CHARS: Final = 2_000
"""What is left of an answer in a turn that is kept although it does not fit."""
_SPARE_TOKENS: Final = 64


def compact(
    messages: Sequence[Message],
    events: Sequence[AnyEvent],
    step: int,
    budget_tokens: int,
    keep: Keep,
    notes: str = "",
) -> Compacted:
    """The event that brings a window to at most `budget_tokens`, where instructions and task leave room.

    A task that is too long for half of the budget is shortened as well; all of it stays behind a handle.
    `notes` are a model's own words.
    """
    system, task = messages[:_HEAD_MESSAGES]
    task = _shortened(task, (budget_tokens // 2 - message_tokens(system)) * CHARS_PER_TOKEN, keep)
    room = budget_tokens - message_tokens(system) - message_tokens(task) - _SPARE_TOKENS
    summary = told(facts(events), notes, int(room * _SUMMARY_SHARE) * CHARS_PER_TOKEN, keep)
    said = Message("user", summary)
    newest = _newest(_turns(messages[_HEAD_MESSAGES:]), room - message_tokens(said), keep)
    kept = (system, task, said, *newest)
    return Compacted(step=step, replaced=len(messages), messages=kept)


def _turns(messages: Sequence[Message]) -> list[list[Message]]:
    """Each begins with a reply, or with what somebody said before the first reply."""
    turns: list[list[Message]] = []
    for message in messages:
        if message.role == "assistant" or not turns:
            turns.append([])
        turns[-1].append(message)
    return [turn for turn in turns if turn[0].role == "assistant"]


def _newest(turns: list[list[Message]], room: int, keep: Keep) -> list[Message]:
    """The last turns that fit, at least a short form of the last one; repeated answers only once."""
    kept: list[list[Message]] = []
    seen: set[str] = set()
    for turn in reversed(turns):
        once = [_once(message, seen) for message in reversed(turn)][::-1]
        size = sum(map(message_tokens, once))
        if size > room and not kept:
            once = [_short_answer(message, keep) for message in once]
            size = sum(map(message_tokens, once))
        if size > room:
            break
        kept.append(once)
        room -= size
    return [message for turn in reversed(kept) for message in turn]


def _once(message: Message, seen: set[str]) -> Message:
    if message.role != "tool" or len(message.content) < _REPEATED_CHARS:
        return message
    if message.content in seen:
        return msgspec.structs.replace(message, content="[the same as a later answer]")
    seen.add(message.content)
    return message


def _short_answer(message: Message, keep: Keep) -> Message:
    return _shortened(message, _LONG_CHARS, keep) if message.role != "assistant" else message


def _shortened(message: Message, most: int, keep: Keep) -> Message:
    most = max(most, _REPEATED_CHARS)
    if len(message.content) <= most:
        return message
    note = f"\n[all of it: read_output handle={keep(message.content)}]"
    return msgspec.structs.replace(message, content=clipped(message.content, most - len(note) - 60) + note)
