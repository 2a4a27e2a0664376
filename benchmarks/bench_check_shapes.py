"""How many checks per second does weft.authz answer in process, and how long does it take on hard graphs?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from itertools import cycle, islice
from typing import NamedTuple

import lmdb
from _report import Report, elapsed_s, medians_s, percentile, scale_from_arguments

from weft.authz import EXACT, Authz, Check, Zookie
from weft.core.randomness import derived_random

SCHEMA = """
caveat tier(level int, least int) { level >= least }
definition user {}
definition group { relation member: user | group#member }
definition folder {
  relation parent: folder
  relation viewer: user
  permission view = viewer + parent->view
}
definition doc {
  relation reader: user | group#member
  relation tiered: user with tier
  relation folder: folder
  relation left: user | group#member
  relation right: user | group#member
  relation banned: user
  permission view = reader
  permission inherited = folder->view
  permission both = left & right
  permission but = left - banned
}
"""
DIRECT = 20_000
PATHS = 1_000
GROUPS_ON_A_PATH = 8
"""With the document and the user, ten nodes."""
LOOKUP_ROUNDS = 20
"""Once would be over within a time slice, and so be all or nothing on a shared machine."""
BATCH = 1_000
CALLS_TOGETHER = 20
"""Calls that are timed as one: a clock reading costs as much as a short one."""
SAMPLES = 200


class Question(NamedTuple):
    object: str
    relation: str
    user: str
    allowed: bool = True


class Shape(NamedTuple):
    """A graph, and questions that are hard on it."""

    name: str
    tuples: list[str]
    asked: list[Question]


def direct(number: int) -> dict[Question, str]:
    """Each document has a reader of its own; a question about it, and the tuple that allows it."""
    asked = [Question(f"doc:d{index}", "view", f"user:u{index * 7 % number}") for index in range(number)]
    return {one: f"{one.object}#reader@{one.user}" for one in asked}


def nested(number: int) -> dict[Question, list[str]]:
    """Each document is read through groups within groups, without any shared between paths."""
    paths = {}
    for index in range(number):
        groups = [f"group:p{index}-{depth}#member" for depth in range(GROUPS_ON_A_PATH)]
        question = Question(f"doc:p{index}", "view", f"user:p{index}")
        ends = zip([f"{question.object}#reader", *groups], [*groups, question.user], strict=True)
        paths[question] = [f"{here}@{there}" for here, there in ends]
    return paths


def shapes(scale: float) -> list[Shape]:
    """What is published as hard on other engines; asked for somebody at the far end, and for nobody."""
    many, half = max(3, int(9_001 * scale)), max(3, int(500 * scale))
    nobody, ann = "user:nobody", "user:ann"
    deep = [f"folder:deep{n}#parent@folder:deep{n + 1}" for n in range(30)]
    wide_groups = max(6, int(180 * scale))
    arrows = max(3, int(100 * scale))
    return [
        Shape(
            "30 arrows deep",
            ["doc:deep#folder@folder:deep0", *deep, f"folder:deep30#viewer@{ann}"],
            [Question("doc:deep", "inherited", ann), Question("doc:deep", "inherited", nobody, False)],
        ),
        Shape(
            f"{many:,} direct users",
            [f"doc:full#reader@user:f{n}" for n in range(many)],
            [Question("doc:full", "view", "user:f1"), Question("doc:full", "view", nobody, False)],
        ),
        Shape(
            f"{wide_groups} groups side by side, three deep",
            [
                line
                for n in range(wide_groups // 3)
                for line in (
                    f"doc:wide#reader@group:w{n}a#member",
                    f"group:w{n}a#member@group:w{n}b#member",
                    f"group:w{n}b#member@group:w{n}c#member",
                )
            ]
            + [f"group:w{wide_groups // 3 - 1}c#member@{ann}"],
            [Question("doc:wide", "view", ann), Question("doc:wide", "view", nobody, False)],
        ),
        Shape(
            f"intersection of two times {half} groups",
            [f"doc:sets#left@group:l{n}#member" for n in range(half)]
            + [f"doc:sets#right@group:r{n}#member" for n in range(half)]
            + [f"group:l{n}#member@{ann}" for n in range(half)]
            + [f"group:r{half - 1}#member@{ann}", f"group:l0#member@{nobody}"],
            [Question("doc:sets", "both", ann), Question("doc:sets", "both", nobody, False)],
        ),
        Shape(
            f"{arrows} arrows side by side",
            [f"doc:many#folder@folder:m{n}" for n in range(arrows)]
            + [f"folder:m{n}#parent@folder:n{n}" for n in range(arrows)]
            + [f"folder:n{arrows - 1}#viewer@{ann}"],
            [Question("doc:many", "inherited", ann), Question("doc:many", "inherited", nobody, False)],
        ),
        Shape(
            f"{half} users but one",
            [f"doc:but#left@user:b{n}" for n in range(half)] + ["doc:but#banned@user:b1"],
            [Question("doc:but", "but", "user:b0"), Question("doc:but", "but", "user:b1", False)],
        ),
    ]


def check_s(authz: Authz, questions: list[Question], at: Zookie | EXACT | None = None) -> float:
    def work() -> None:
        check = authz.check
        right = sum(check(object_, relation, user, at=at).allowed for object_, relation, user, _ in questions)
        assert right == len(questions)

    return elapsed_s(work)


def conditioned_s(authz: Authz, questions: list[Question]) -> float:
    """Every check with another context."""
    contexts = [{"level": level} for level in range(10, 100)]

    def work() -> None:
        right = sum(
            authz.check(asked.object, "tiered", asked.user, context=context).allowed
            for asked, context in zip(questions, cycle(contexts), strict=False)
        )
        assert right == len(questions)

    return elapsed_s(work)


def check_many_s(authz: Authz, checks: list[Check], allowed: int) -> float:
    def work() -> None:
        found = 0
        for start in range(0, len(checks), BATCH):
            found += sum(decision.allowed for decision in authz.check_many(checks[start : start + BATCH]))
        assert found == allowed

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


def membership_s(members: set[str], checks: list[Check]) -> float:
    """What a set takes that holds the users."""
    return elapsed_s(lambda: [check.user in members for check in checks])


def lmdb_gets_s(questions: list[Question]) -> float:
    """What LMDB takes to find one key for each question, in one transaction."""
    keys = [f"{asked.object}#reader@{asked.user}".encode() for asked in questions]
    with tempfile.TemporaryDirectory() as folder, lmdb.open(folder, map_size=1 << 30) as environment:
        with environment.begin(write=True) as txn:
            txn.cursor().putmulti((key, b"") for key in keys)
        with environment.begin() as txn:
            return elapsed_s(lambda: [txn.get(key) for key in keys])


def together_s(calls: Iterable[Callable[[], object]]) -> float:
    """The seconds of one call, on average over a few."""
    chosen = list(islice(calls, CALLS_TOGETHER))

    def work() -> None:
        for call in chosen:
            call()

    return elapsed_s(work) / len(chosen)


def asking(authz: Authz, asked: Question) -> Callable[[], object]:
    return partial(authz.check, asked.object, asked.relation, asked.user)


def disjoint(size: int) -> Callable[[], object]:
    """Two sets of which the last member is in both."""
    left, right = set(range(size)), set(range(size - 1, 2 * size - 1))
    return partial(left.isdisjoint, right)


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    flat, paths = direct(max(10, int(DIRECT * scale))), nested(max(5, int(PATHS * scale)))
    hard = shapes(scale)
    tuples = [*flat.values(), *(text for path in paths.values() for text in path)]
    known = dict(text.split("@") for text in tuples)
    tuples += [f'{one.object}#tiered@{one.user}[tier:{{"least":{n % 10}}}]' for n, one in enumerate(flat)]
    tuples += [text for shape in hard for text in shape.tuples]
    rng = derived_random(1, "checks")
    few, many = rng.sample(sorted(flat), len(flat)), rng.sample(sorted(paths), len(paths))

    with tempfile.TemporaryDirectory() as folder, Authz.open(folder) as authz:
        authz.write_schema(SCHEMA)
        for start in range(0, len(tuples), BATCH):
            before = authz.write(touch=tuples[start : start + BATCH])
        assert authz._mirror is not None
        authz._mirror.catch_up()
        latest = authz.write(touch=["doc:later#reader@user:ann"])
        rates(report, authz, few, many, known, (before, latest))
        shape_latencies(report, authz, hard)
    report.print()


def rates(
    report: Report,
    authz: Authz,
    few: list[Question],
    many: list[Question],
    known: dict[str, str],
    moments: tuple[Zookie, Zookie],
) -> None:
    before, latest = moments
    check_s(authz, few)
    gets, floor, plain, zookie, past, conditioned = medians_s(
        partial(lmdb_gets_s, few),
        partial(lookups_s, known, few),
        partial(check_s, authz, few),
        partial(check_s, authz, few, latest),
        partial(check_s, authz, few, EXACT(before)),
        partial(conditioned_s, authz, few),
    )
    count = len(few)
    report.add("LMDB get", count / gets, "checks/s")
    report.add("dict lookup", count / floor, "checks/s")
    report.add("check, direct", count / plain, "checks/s", floor="dict lookup")
    report.add("check, direct, at a zookie", count / zookie, "checks/s", floor="dict lookup")
    report.add("check, direct, at an older revision", count / past, "checks/s", floor="dict lookup")
    report.add("check, with a condition", count / conditioned, "checks/s", floor="dict lookup")
    floor, walked = medians_s(partial(lookups_s, known, many), partial(check_s, authz, many))
    report.add("nine dict lookups", len(many) / floor, "checks/s")
    report.add("check, path of ten nodes", len(many) / walked, "checks/s", floor="nine dict lookups")

    one = [Check("doc:full", "view", asked.user) for asked in few]
    mixed = [Check(asked.object, "view", asked.user) for asked in few]
    mine = [Check(asked.object, "view", few[0].user) for asked in few]
    members = {f"user:f{number}" for number in range(count)}
    floor, users, others, objects = medians_s(
        partial(membership_s, members, one),
        partial(check_many_s, authz, one, 0),
        partial(check_many_s, authz, mixed, count),
        partial(check_many_s, authz, mine, 1),
    )
    report.add("set membership", count / floor, "checks/s")
    report.add("check_many, users of one document", count / users, "checks/s", floor="set membership")
    report.add("check_many, documents of one user", count / objects, "checks/s", floor="set membership")
    report.add("check_many, all different", count / others, "checks/s", floor="set membership")


def shape_latencies(report: Report, authz: Authz, hard: list[Shape]) -> None:
    samples = max(5, int(SAMPLES * report.scale))
    for shape in hard:
        for asked in shape.asked:
            assert authz.check(asked.object, asked.relation, asked.user).allowed is asked.allowed, asked
    series: dict[str, Callable[[], object]] = {"two sets of 500, is one in both": disjoint(500)}
    for shape in hard:
        for asked in shape.asked:
            series[f"{shape.name}, {'allowed' if asked.allowed else 'denied'}"] = asking(authz, asked)
    taken = {
        name: [together_s([call] * CALLS_TOGETHER) for _ in range(samples)] for name, call in series.items()
    }
    for name, seconds in taken.items():
        report.add(f"{name}, p50", percentile(seconds, 50) * 1e6, "µs")


if __name__ == "__main__":
    main()
