"""`weft authz stats`: how many tuples each relation has."""

from __future__ import annotations

from collections import Counter

from weft.authz.tuples import parse_tuple
from weft.cli.authz.options import At, Data, Exact, Latest, moment, open_authz
from weft.cli.output import Json, emit, print_table


def stats(
    at: At = None, exact: Exact = False, latest: Latest = False, data: Data = None, json: Json = False
) -> None:
    """Count the tuples of each relation at one moment, by reading all of them.

    Example: weft authz stats
    """
    counts: Counter[str] = Counter()
    with open_authz(data) as authz:
        for line in authz.export_tuples(at=moment(at, exact, latest)):
            item = parse_tuple(line)
            counts[f"{item.object.namespace}#{item.relation}"] += 1
    if json:
        for relation, count in sorted(counts.items()):
            emit(True, {"relation": relation, "tuples": count}, "")
    else:
        rows = [(relation, f"{count:,}") for relation, count in sorted(counts.items())]
        print_table(("relation", "tuples"), [*rows, ("all", f"{counts.total():,}")])
