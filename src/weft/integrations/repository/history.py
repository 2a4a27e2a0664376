"""The job that turns commits into nodes, edges and relation tuples."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from weft.authz.tuples import ObjectRef, RelationTuple, User
from weft.graph import Edge, Node, job
from weft.graph.ingest.job import Output
from weft.graph.ingest.model import Event, RelationWrite
from weft.graph.ingest.sources.git_log import Change, Commit
from weft.integrations.repository.types import node_id

ROOT: Final = "/"
"""The id of the folder that holds the whole repository."""

_SUMMARY_CHARACTERS: Final = 200


@job
def history(event: Event) -> Iterator[Output]:
    """Who committed what when, which files it changed, and whom that gives a right.

    Authors may edit what they have worked on; a file lies in its folder for as long as it exists.
    """
    commit: Commit = event.value
    person = person_id(commit)
    yield Node("commit", commit.sha, {"summary": _summary(commit.message), "files": len(commit.changes)})
    yield Node("person", person, {"name": commit.author_name})
    yield Edge("authored", person, commit.sha)
    for change in commit.changes:
        yield from _changed(commit.sha, person, change)


def person_id(commit: Commit) -> str:
    """The author's mail address, else the name."""
    return node_id(commit.author_email or commit.author_name or "unknown")


def folders(path: str) -> list[str]:
    """The folders that hold a path, innermost first, ending with the root."""
    found = []
    while path := posixpath.dirname(path):
        found.append(node_id(path))
    return [*found, ROOT]


def _changed(sha: str, person: str, change: Change) -> Iterator[Output]:
    file = node_id(change.path)
    facts: dict[str, object] = {"status": change.status}
    if change.added_lines is not None and change.deleted_lines is not None:
        facts |= {"added": change.added_lines, "deleted": change.deleted_lines}
    yield Edge("changed", sha, file, facts)
    yield Edge("worked_on", person, file)
    yield _relation("file", file, "author", "person", person)
    if change.status == "D":
        yield from _gone(change.path)
        return
    yield Node("file", file, {"path": change.path, "exists": True})
    if change.status in ("A", "C", "R"):
        yield from _placed(change.path)
    if change.status == "R" and change.renamed_from is not None:
        yield from _gone(change.renamed_from)


def _placed(path: str) -> Iterator[Output]:
    chain = folders(path)
    yield _relation("file", node_id(path), "folder", "folder", chain[0])
    for inner, outer in pairwise(chain):
        yield _relation("folder", inner, "parent", "folder", outer)


def _gone(path: str) -> Iterator[Output]:
    file = node_id(path)
    yield Node("file", file, {"path": path, "exists": False})
    yield _relation("file", file, "folder", "folder", folders(path)[0], delete=True)


def _relation(
    namespace: str, object_id: str, relation: str, user_namespace: str, user_id: str, *, delete: bool = False
) -> RelationWrite:
    fact = RelationTuple(ObjectRef(namespace, object_id), relation, User(user_namespace, user_id))
    return RelationWrite(str(fact), delete)


def _summary(message: str) -> str:
    return message.strip().partition("\n")[0][:_SUMMARY_CHARACTERS]
