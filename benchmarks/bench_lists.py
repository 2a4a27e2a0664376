"""How long does a list of a hundred thousand objects, or of users, take: its first page, and all of it?"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

from _report import Report, elapsed_s, medians_s, scale_from_arguments

from weft.authz import LATEST, Authz
from weft.authz.results import Page
from weft.authz.serving.settings import Serving
from weft.authz.stores.lmdb import LmdbStore
from weft.core.randomness import derived_random

SCHEMA = """
definition user {}
definition group { relation member: user | group#member }
definition folder { relation viewer: user | group#member }
definition doc {
  relation folder: folder
  relation reader: user | group#member
  relation approved: user
  relation banned: user
  permission view = reader + folder->viewer
  permission both = reader & approved
  permission but = reader - banned
}
"""
RESULTS = 100_000
GROUPS = 1_000
FOLDERS = 1_000
PAGE = 100
ITEMS_OF_MANY = 1_000
"""Of each page, where all are asked for."""


def tuples(results: int) -> list[str]:
    """For each user one way to all documents, and for each document one way to all users; in no order."""
    groups, folders = max(2, results * GROUPS // RESULTS), max(2, results * FOLDERS // RESULTS)
    rows = [f"doc:{doc}#reader@user:direct" for doc in range(results)]
    rows += [f"doc:{doc}#approved@user:direct" for doc in range(0, results, 2)]
    rows += [f"doc:{doc}#banned@user:direct" for doc in range(0, results, 2)]
    rows += [f"doc:{doc}#reader@group:g{doc % groups}#member" for doc in range(results)]
    rows += [f"group:g{group}#member@group:g{group // 4}#member" for group in range(1, groups)]
    rows += ["group:g0#member@user:grouped"]
    rows += [f"doc:{doc}#folder@folder:f{doc % folders}" for doc in range(results)]
    rows += [f"folder:f{folder}#viewer@user:foldered" for folder in range(folders)]
    rows += [f"doc:public#reader@user:u{user}" for user in range(results)]
    rows += [f"doc:public#banned@user:u{user}" for user in range(0, results, 2)]
    rows += [f"group:s{user % groups}#member@user:u{user}" for user in range(results)]
    rows += [f"group:all#member@group:s{group}#member" for group in range(groups)]
    rows += ["doc:team#reader@group:all#member"]
    derived_random(1, "lists").shuffle(rows)
    return rows


class Question(NamedTuple):
    what: str
    name: str
    arguments: tuple[str, ...]
    share: float = 1.0
    """Of all documents or users, how many are listed."""


QUESTIONS = (
    Question("objects, directly", "list_objects", ("doc", "view", "user:direct")),
    Question("objects, through groups", "list_objects", ("doc", "view", "user:grouped")),
    Question("objects, through folders", "list_objects", ("doc", "view", "user:foldered")),
    Question("objects, an intersection", "list_objects", ("doc", "both", "user:direct"), 0.5),
    Question("objects, an exclusion", "list_objects", ("doc", "but", "user:direct"), 0.5),
    Question("subjects, directly", "list_subjects", ("doc:public", "view", "user")),
    Question("subjects, through groups", "list_subjects", ("doc:team", "view", "user")),
    Question("subjects, an exclusion", "list_subjects", ("doc:public", "but", "user"), 0.5),
)


class Lister:
    """Asks at a revision that nobody has asked at before, so that nothing is kept of earlier lists."""

    def __init__(self, authz: Authz) -> None:
        self._authz = authz
        self._ticks = 0

    def _tick(self) -> None:
        self._ticks += 1
        self._authz.write(touch=[f"doc:tick#banned@user:tick{self._ticks}"])
        self._authz.check("doc:tick", "banned", f"user:tick{self._ticks}", at=LATEST)

    def first_s(self, question: Question) -> float:
        self._tick()
        ask = getattr(self._authz, question.name)
        return elapsed_s(lambda: ask(*question.arguments, limit=PAGE))

    def all_s(self, question: Question, count: int) -> float:
        self._tick()
        ask = getattr(self._authz, question.name)

        def work() -> None:
            found, cursor = 0, None
            while not found or cursor is not None:
                page: Page[str] = ask(*question.arguments, limit=ITEMS_OF_MANY, cursor=cursor)
                found += len(page.items)
                cursor = page.cursor
            assert found == count, (question, found)

        return elapsed_s(work)


def set_s(texts: set[str], count: int) -> float:
    """What a set of texts takes to be put in order, and the first of them to be taken."""
    return elapsed_s(lambda: sorted(texts)[:count])


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    results = max(200, int(RESULTS * scale))
    rows = tuples(results)
    with tempfile.TemporaryDirectory() as folder, LmdbStore(Path(folder) / "authz") as store:
        fast = Authz(store)
        slow = Authz(store, serving=Serving(mirror=False, cache=False, flights=False, hot=False))
        fast.write_schema(SCHEMA)
        fast.import_tuples(rows)
        wait_until_ready(fast)
        texts = {f"doc:{number}" for number in range(results)}
        quick, walking = Lister(fast), Lister(slow)
        floor = "a set of texts in order"
        report.add(floor, medians_s(partial(set_s, texts, results))[0] * 1e3, "ms")
        for question in QUESTIONS:
            count = int(results * question.share)
            first, whole = medians_s(partial(quick.first_s, question), partial(quick.all_s, question, count))
            report.add(f"{question.what}: first {PAGE}", first * 1e3, "ms", floor=floor)
            report.add(f"{question.what}: all", whole * 1e3, "ms", floor=floor)
        for question in QUESTIONS[:2]:
            walked = walking.first_s(question)
            report.add(f"{question.what}, walking the store: first {PAGE}", walked * 1e3, "ms", floor=floor)
        fast.close()
    report.note(f"{len(rows):,} tuples; lists of {results:,}, an intersection or exclusion half of that")
    report.note(f"all: in pages of {ITEMS_OF_MANY:,}; each list at a revision of its own")
    report.print()


def wait_until_ready(authz: Authz) -> None:
    """Until the mirror is loaded, and the index; both are made in the background."""
    authz.list_objects("doc", "view", "user:grouped", limit=1)
    for part in (authz._mirror, authz._leopard):
        if part is not None and part._background is not None:
            part._background.join()
        authz.list_objects("doc", "view", "user:grouped", limit=1)


if __name__ == "__main__":
    main()
