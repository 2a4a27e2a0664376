"""How fast, and in how much memory, do a million tuples go into LMDB, out as text, and in again?"""

from __future__ import annotations

import hashlib
import resource
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from _floor import blind_puts_s
from _report import Report, elapsed_s, scale_from_arguments

from weft.authz import Authz

SCHEMA = """
definition user {}
definition group { relation member: user | group#member }
definition doc { relation reader: user | group#member  relation owner: user  permission view = reader }
"""
TUPLES = 1_000_000
BATCH = 20_000
"""Of the floor; what an import commits at once."""
STEP = 611_953
"""A prime: steps of it visit every number once, in no order that an index likes."""


def tuples(number: int) -> Iterator[str]:
    """A fifth names one object and a fifth one user; the rest is spread; in no order."""
    fifth = max(1, number // 5)
    for index in range(number):
        at = index * STEP % number
        if at < fifth:
            yield f"doc:everybody#reader@user:u{at}"
        elif at < 2 * fifth:
            yield f"doc:d{at - fifth}#owner@user:auditor"
        elif at < 3 * fifth:
            yield f"group:g{at % 1_000}#member@user:u{at}"
        else:
            yield f"doc:d{at % fifth}#reader@group:g{at // fifth}-{at % 997}#member"


def rows(lines: Iterator[str]) -> Iterator[list[tuple[bytes, bytes]]]:
    """Two rows for each tuple, since it is looked up from either end."""
    while part := list(islice(lines, BATCH)):
        keys = [line.encode() for line in part]
        yield [(key, b"") for one in keys for key in (one, b"@".join(reversed(one.split(b"@"))))]


def import_s(folder: Path, lines: Iterable[str]) -> float:
    with Authz.open(folder) as authz:
        authz.write_schema(SCHEMA)
        return elapsed_s(lambda: authz.import_tuples(lines))


def export_s(folder: Path, to: Path) -> float:
    def work() -> None:
        with to.open("w") as file:
            file.writelines(line + "\n" for line in authz.export_tuples())

    with Authz.open(folder) as authz:
        return elapsed_s(work)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    number = max(10, int(TUPLES * scale))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        one, two = folder / "one.txt", folder / "two.txt"
        taken = import_s(folder / "one", tuples(number))
        given = export_s(folder / "one", one)
        with one.open() as lines:
            again = import_s(folder / "two", lines)
        export_s(folder / "two", two)
        assert digest(one) == digest(two), "the exports differ"
        with one.open() as lines:
            assert sum(1 for _ in lines) == number, "tuples are missing"
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report.add("LMDB alone, 20,000 at once", number / blind_puts_s(rows(tuples(number))), "tuples/s")
    report.add("import, in no order", number / taken, "tuples/s", floor="LMDB alone, 20,000 at once")
    report.add("import, as exported", number / again, "tuples/s", floor="LMDB alone, 20,000 at once")
    report.add("export", number / given, "tuples/s")
    report.add("memory before", before_kb / 1_024, "MiB")
    report.add("peak memory, the mapped file included", peak_kb / 1_024, "MiB")
    report.add("exports with the same bytes", 2, "of 2")
    report.print()


if __name__ == "__main__":
    main()
