"""A repository's history and code, streamed into graph and authz and asked again."""

from pathlib import Path

import pytest

from weft.authz import LATEST, Authz
from weft.core.errors import Invalid
from weft.graph import Graph, RelationWrite
from weft.graph.ingest.sources.git import GitSource
from weft.integrations.relations import AuthzRelations
from weft.integrations.repository import rights, types
from weft.integrations.repository.code import CodeSource, code
from weft.integrations.repository.history import folders, history
from weft.integrations.visibility import AuthzVisibility
from weft.testing.git import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repo")
    made.commit({"src/a.py": "def low():\n    return 1\n", "README": "hi\n"})
    made.commit({"src/b.py": "from a import low\n\ndef high():\n    return low()\n"}, who="bob")
    return made


def stores() -> tuple[Graph, Authz]:
    authz = Authz.open("memory:")
    authz.write_schema(rights.SCHEMA)
    return Graph.open("memory:", types.TYPES), authz


def read(repository: Repository, graph: Graph, authz: Authz) -> None:
    history_report = graph.ingest(history, GitSource(repository.folder), relations=AuthzRelations(authz))
    code_report = graph.ingest(code, CodeSource(repository.folder))
    assert history_report.dead_letters == code_report.dead_letters == 0


def ids(nodes: object) -> set[str]:
    return {node.id for node in nodes}  # type: ignore[attr-defined]


def test_who_changed_what_and_what_calls_what(repository: Repository) -> None:
    graph, authz = stores()
    read(repository, graph, authz)
    assert ids(graph.start("file", "src/b.py").in_("changed").in_("authored").nodes()) == {"bob@example.org"}
    assert ids(graph.start("file", "README").in_("changed").out("changed").nodes()) == {"README", "src/a.py"}
    assert ids(graph.start("symbol", "src/a.py::low").in_("calls").nodes()) == {"src/b.py::high"}


def test_a_call_of_a_name_with_two_definitions_is_left_out(repository: Repository) -> None:
    repository.commit({"src/c.py": "def low():\n    return low()\n"})
    graph, authz = stores()
    read(repository, graph, authz)
    assert graph.start("symbol", "src/b.py::high").out("calls").count() == 0
    assert ids(graph.start("symbol", "src/c.py::low").out("calls").nodes()) == {"src/c.py::low"}


def test_reading_again_changes_nothing_and_goes_on_behind_the_head(repository: Repository) -> None:
    graph, authz = stores()
    read(repository, graph, authz)
    again = graph.ingest(history, GitSource(repository.folder), relations=AuthzRelations(authz))
    assert (again.events, graph.ingest(code, CodeSource(repository.folder)).events) == (0, 0)

    repository.commit({"src/a.py": "def lower():\n    return 1\n\ndef low():\n    return lower()\n"})
    read(repository, graph, authz)
    assert ids(graph.start("symbol", "src/a.py::low").out("calls").nodes()) == {"src/a.py::lower"}
    repository.commit({"src/a.py": "def lower():\n    return 1\n"})
    read(repository, graph, authz)
    assert graph.node("symbol", "src/a.py::low") is None
    assert ids(graph.start("file", "src/a.py").out("defines").nodes()) == {"src/a.py::lower"}
    assert graph.start("symbol", "src/b.py::high").out("calls").count() == 0


def test_an_interrupted_reading_of_code_goes_on_where_it_was(repository: Repository) -> None:
    whole = list(CodeSource(repository.folder).events({}))
    for done, event in enumerate(whole, 1):
        assert event is not None
        rest = list(CodeSource(repository.folder).events({0: event.offset}))
        assert rest == whole[done:]


def test_rights_follow_the_history(repository: Repository) -> None:
    graph, authz = stores()
    read(repository, graph, authz)
    assert authz.check("file:src/b.py", "edit", "person:bob@example.org").allowed
    assert not authz.check("file:src/a.py", "edit", "person:bob@example.org").allowed
    authz.write(touch=["folder:/#maintainer@person:eve"])
    assert set(authz.list_objects("file", "edit", "person:eve").items) == {
        "file:README",
        "file:src/a.py",
        "file:src/b.py",
    }
    repository.commit({"src/b.py": None})
    repository.git("mv", "README", "docs.txt")
    repository.commit({})
    read(repository, graph, authz)
    assert set(authz.list_objects("file", "edit", "person:eve").items) == {"file:docs.txt", "file:src/a.py"}
    node = graph.node("file", "src/b.py")
    assert node is not None
    assert node.properties["exists"] is False


def test_a_reader_sees_no_hidden_file_and_nothing_through_one(repository: Repository) -> None:
    graph, authz = stores()
    read(repository, graph, authz)
    eyes = AuthzVisibility(authz, "person:bob@example.org", {"file": "view"}, public=("commit", "person"))
    seen = graph.seen_by(eyes)
    assert seen.node("file", "src/a.py") is None
    assert seen.start("commit").out("changed").count() == 1
    assert seen.start("file", "README").in_("changed").out("changed").count() == 0
    assert seen.start("symbol").count() == 0, "types that nobody named are hidden"


def test_one_pair_of_eyes_sees_one_moment(repository: Repository) -> None:
    graph, authz = stores()
    read(repository, graph, authz)
    authz.write(touch=["folder:/#maintainer@person:eve"])
    before = AuthzVisibility(authz, "person:eve", {"file": "view"})
    assert graph.seen_by(before).start("file").count() == 3
    revoked = authz.write(delete=["folder:/#maintainer@person:eve"])
    assert graph.seen_by(before).start("file").count() == 3
    after = AuthzVisibility(authz, "person:eve", {"file": "view"}, at=revoked)
    assert graph.seen_by(after).start("file").count() == 0
    assert not authz.check("file:README", "view", "person:eve", at=LATEST).allowed


def test_tuples_that_can_never_be_written_are_refused_before_anything_is() -> None:
    _, authz = stores()
    relations = AuthzRelations(authz)
    relations.check(RelationWrite("file:a#author@person:ann"))
    for text in ("file:a#author", "file:a#author@folder:b", "file:a#edit@person:ann", "nothing:a#b@c:d"):
        with pytest.raises(Invalid):
            relations.check(RelationWrite(text))


def test_odd_file_names_are_nodes_and_objects(tmp_path: Path) -> None:
    made = Repository(tmp_path / "odd")
    names = {"*", "a b", "a#b", "a@b", "a[b", "ä", "back\\slash", "/".join(["long" * 50] * 6) + "/x"}
    made.commit(dict.fromkeys(names, "x\n"))
    graph, authz = stores()
    read(made, graph, authz)
    assert {node.properties["path"] for node in graph.start("file").nodes()} == names
    page = authz.list_objects("file", "edit", "person:ann@example.org")
    assert len(page.items) == len(names)


def test_folders_lead_to_the_root() -> None:
    assert folders("a/b/c.py") == ["a/b", "a", "/"]
    assert folders("c.py") == ["/"]
