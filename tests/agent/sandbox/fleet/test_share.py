"""Fair queueing against its bound, over random histories."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from weft.agent.sandbox.fleet.share import Entry, FairQueue

BURST = 2
arrivals = st.tuples(st.just("add"), st.sampled_from("abcd"), st.integers(0, 2))
others = st.tuples(st.sampled_from(["take", "take", "drop", "promote"]), st.just(""), st.integers(0, 50))


@given(st.lists(arrivals | others, max_size=120))
def test_a_request_without_a_backlog_waits_for_few_of_each_other_client(
    history: list[tuple[str, str, int]],
) -> None:
    queue = FairQueue(3, weights={}, burst=BURST, credits_per_s=0.0)
    waiting: dict[int, Entry] = {}
    overtaken: dict[int, dict[str, int]] = {}

    def watch(entry: Entry, alone: bool) -> None:
        waiting[entry.key] = entry
        if alone and entry.level == 0 and entry.tag == queue._virtual[0]:
            overtaken[entry.key] = dict.fromkeys("abcd", 0)

    for key, (what, client, number) in enumerate(history):
        if what == "add":
            alone = queue.waiting(client) == 0
            entry = Entry(key, client, number, 1.0)
            queue.add(entry, key)
            watch(entry, alone)
        elif what == "take" and (head := queue.head()) is not None:
            assert head.level == min(each.level for each in waiting.values())
            queue.take(head.key)
            del waiting[head.key]
            overtaken.pop(head.key, None)
            for other, counts in overtaken.items():
                counts[head.client] += 1
                assert counts[head.client] <= BURST + 1, (other, head.client)
        elif what in ("drop", "promote") and waiting:
            entry = waiting.pop(sorted(waiting)[number % len(waiting)])
            overtaken.pop(entry.key, None)
            if what == "drop" or entry.level == 0:
                queue.drop(entry.key)
            else:
                alone = queue.waiting(entry.client) == 1
                watch(queue.promote(entry.key, key), alone)
        assert len(queue) == len(waiting)
        assert queue.active == len({each.client for each in waiting.values()})


def test_what_was_dropped_is_not_charged() -> None:
    queue = FairQueue(1, weights={}, burst=0, credits_per_s=0.0)
    for key in range(100):
        queue.add(Entry(key, "a", 0, 1.0), 0)
    for key in range(100):
        queue.drop(key)
    queue.add(Entry(200, "a", 0, 1.0), 0)
    queue.add(Entry(201, "b", 0, 1.0), 0)
    queue.add(Entry(202, "b", 0, 1.0), 0)
    head = queue.head()
    assert head is not None
    assert head.key == 200


def test_a_client_pays_for_what_it_held_beyond_the_expected() -> None:
    queue = FairQueue(1, weights={}, burst=0, credits_per_s=0.0)
    order = []
    for key in range(20):
        queue.add(Entry(key, "long" if key % 2 else "short", 0, 1.0), 0)
    while (head := queue.head()) is not None:
        entry = queue.take(head.key)
        order.append(entry.client)
        queue.correct(entry, 3.0 if entry.client == "long" else 1.0)
        queue.add(Entry(100 + len(order), entry.client, 0, 1.0), 0)
        if len(order) == 300:
            break
    late = order[-200:]
    assert 2.0 < late.count("short") / late.count("long") < 4.0


def test_a_spent_burst_comes_back_with_time() -> None:
    queue = FairQueue(1, weights={}, burst=2, credits_per_s=0.5)

    def tags(start: int, now_s: int) -> list[float]:
        entries = [Entry(start + number, "a", 0, 1.0) for number in range(4)]
        for entry in entries:
            queue.add(entry, now_s * 1_000_000)
        found = [entry.tag - queue._virtual[0] for entry in entries]
        for entry in entries:
            queue.take(entry.key)
        return found

    assert tags(0, 0) == [0.0, 0.0, 0.0, 1.0]
    assert tags(10, 1) == [0.0, 1.0, 2.0, 3.0]
    assert tags(20, 100) == [0.0, 0.0, 0.0, 1.0]
