"""How many checks per second does weft.authz answer on LMDB, and how many tuples does it take?"""

from __future__ import annotations

import tempfile
from functools import partial
from typing import NamedTuple

from _floor import blind_puts_s
from _report import Report, elapsed_s, medians_s, scale_from_arguments

from weft.authz import Authz, Check
from weft.core.randomness import derived_random

SCHEMA = """
definition user {}
definition group { relation member: user | group#member }
definition doc { relation reader: user | group#member  permission view = reader }
"""
DIRECT = 20_000
PATHS = 1_000
GROUPS_ON_A_PATH = 8
"""With the document and the user, ten nodes."""
LOOKUP_ROUNDS = 20
"""Once would be over within a time slice, and so be all or nothing on a shared machine."""
SINGLE_WRITES = 500
BATCH = 1_000


class Question(NamedTuple):
    object: str
    user: str


def direct(number: int) -> dict[Question, str]:
    """Each document has a reader of its own; a question about it, and the tuple that allows it."""
    asked = [Question(f"doc:d{index}", f"user:u{index * 7 % number}") for index in range(number)]
    return {one: f"{one.object}#reader@{one.user}" for one in asked}


def nested(number: int) -> dict[Question, list[str]]:
    """Each document is read through groups within groups, without any shared between paths."""
    paths = {}
    for index in range(number):
        groups = [f"group:p{index}-{depth}#member" for depth in range(GROUPS_ON_A_PATH)]
        question = Question(f"doc:p{index}", f"user:p{index}")
        ends = zip([f"{question.object}#reader", *groups], [*groups, question.user], strict=True)
        paths[question] = [f"{here}@{there}" for here, there in ends]
    return paths


def check_s(authz: Authz, questions: list[Question]) -> float:
    def work() -> None:
        allowed = sum(authz.check(asked.object, "view", asked.user).allowed for asked in questions)
        assert allowed == len(questions)

    return elapsed_s(work)


def check_many_s(authz: Authz, questions: list[Question]) -> float:
    checks = [Check(asked.object, "view", asked.user) for asked in questions]

    def work() -> None:
        for start in range(0, len(checks), BATCH):
            assert all(decision.allowed for decision in authz.check_many(checks[start : start + BATCH]))

    return elapsed_s(work)


def lookups_s(known: dict[str, str], questions: list[Question]) -> float:
    """What a dictionary takes that holds, for each end of a tuple, the other; walked from the document."""

    def work() -> None:
        for _ in range(LOOKUP_ROUNDS):
            for asked in questions:
                here = known[asked.object + "#reader"]
                while here != asked.user:
                    here = known[here]

    return elapsed_s(work) / LOOKUP_ROUNDS


def write_s(tuples: list[str], size: int) -> float:
    with tempfile.TemporaryDirectory() as folder, Authz.open(folder) as authz:
        authz.write_schema(SCHEMA)
        parts = [tuples[start : start + size] for start in range(0, len(tuples), size)]
        return elapsed_s(lambda: [authz.write(touch=part) for part in parts])


def floor_write_s(tuples: list[str], size: int) -> float:
    """Two rows for each tuple, since it is looked up from either end."""
    rows = [(text.encode(), b"@".join(reversed(text.encode().split(b"@")))) for text in tuples]
    return blind_puts_s(
        [(key, b"") for pair in rows[start : start + size] for key in pair]
        for start in range(0, len(rows), size)
    )


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    flat, paths = direct(max(10, int(DIRECT * scale))), nested(max(5, int(PATHS * scale)))
    tuples = [*flat.values(), *(text for path in paths.values() for text in path)]
    rng = derived_random(1, "checks")
    few, many = rng.sample(sorted(flat), len(flat)), rng.sample(sorted(paths), len(paths))

    with tempfile.TemporaryDirectory() as folder, Authz.open(folder) as authz:
        authz.write_schema(SCHEMA)
        for start in range(0, len(tuples), BATCH):
            authz.write(touch=tuples[start : start + BATCH])
        known = dict(text.split("@") for text in tuples)
        floor, one, batched = medians_s(
            partial(lookups_s, known, few), partial(check_s, authz, few), partial(check_many_s, authz, few)
        )
        report.add("dict lookup", len(few) / floor, "checks/s")
        report.add("check, direct", len(few) / one, "checks/s", floor="dict lookup")
        report.add("check_many of 1,000, direct", len(few) / batched, "checks/s", floor="dict lookup")
        floor, walked = medians_s(partial(lookups_s, known, many), partial(check_s, authz, many))
        report.add("nine dict lookups", len(many) / floor, "checks/s")
        report.add("check, path of ten nodes", len(many) / walked, "checks/s", floor="nine dict lookups")

    singles = tuples[: max(5, int(SINGLE_WRITES * scale))]
    for name, written, size in (("singly", singles, 1), ("in batches of 1,000", tuples, BATCH)):
        floor, weft = medians_s(partial(floor_write_s, written, size), partial(write_s, written, size))
        report.add(f"LMDB alone, {name}", len(written) / floor, "tuples/s")
        report.add(f"write, {name}", len(written) / weft, "tuples/s", floor=f"LMDB alone, {name}")
    report.print()


if __name__ == "__main__":
    main()
