"""Letters that arrive twice, late, or after their reader began anew."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from weft.agent.sandbox.fleet.events import Event, Ready
from weft.agent.sandbox.fleet.on_ray.post import Inbox, Outbox

steps = st.lists(st.sampled_from(["add", "send", "lose the answer", "deliver", "repeat an old one"]))


@given(steps, st.randoms(use_true_random=False))
def test_each_event_is_taken_in_once_and_in_order(history: list[str], random: object) -> None:
    outbox, inbox = Outbox(), Inbox()
    added, taken = 0, list[Event]()
    letter: tuple[int, list[Event]] | None = None
    old: list[tuple[int, list[Event]]] = []

    def arrive(each: tuple[int, list[Event]]) -> None:
        taken.extend(inbox.fresh("m", *each))
        old.append(each)

    for step in [*history, "send", "deliver", "send", "deliver"]:
        if step == "add":
            outbox.add(Ready(added))
            added += 1
        elif step == "send" and (sent := outbox.next()) is not None:
            assert letter is None, "one at a time"
            letter = sent
        elif step == "lose the answer" and letter is not None:
            arrive(letter)
        elif step == "deliver" and letter is not None:
            arrive(letter)
            outbox.delivered()
            letter = None
        elif step == "repeat an old one" and old:
            arrive(random.choice(old))  # type: ignore[attr-defined]
    assert taken == [Ready(number) for number in range(added)]


def test_each_sender_counts_for_itself() -> None:
    inbox = Inbox()
    assert inbox.fresh("m", 0, [Ready(1), Ready(2)]) == [Ready(1), Ready(2)]
    assert inbox.fresh("n", 0, [Ready(3)]) == [Ready(3)]


def test_a_reader_that_begins_anew_takes_what_comes() -> None:
    inbox = Inbox()
    assert inbox.fresh("m", 7, [Ready(1)]) == [Ready(1)]
    assert not inbox.fresh("m", 7, [Ready(1)])
    assert inbox.fresh("m", 7, [Ready(1), Ready(2)]) == [Ready(2)]
