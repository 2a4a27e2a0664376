"""Every case of the corpus: on every store, by every question, in every language that can say it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, cast, get_args

import msgspec
import pytest

from weft.authz import Authz, Decision, Zookie
from weft.authz.schema import Language, parse_schema, print_schema
from weft.authz.schema.cel_types import SCALARS
from weft.authz.schema.model import Rewrite, Schema, TupleToUserset, ValueType, walk
from weft.authz.serving.settings import Serving
from weft.authz.store import Write
from weft.authz.tuples import parse_tuple
from weft.core.errors import Invalid
from weft.testing.authz_agreement import (
    QUESTIONS,
    AsyncFace,
    moments_of,
    open_stage,
    oracle_disagreements,
    run_case,
)
from weft.testing.authz_corpus import CONSTRUCTS, SECTION_9, Case, Step, load_cases, load_corpus

CORPUS = load_corpus(Path(__file__).parents[1] / "corpus" / "authz")
LANGUAGES: tuple[Language, ...] = get_args(Language)
cases = pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.place)


@contextmanager
def async_face(authz: Authz) -> Iterator[Authz]:
    loop = asyncio.new_event_loop()
    try:
        yield cast(Authz, AsyncFace(authz, loop))
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


STORES = {
    "memory": Serving(),
    "lmdb": Serving(),
    "lmdb without a mirror": Serving(mirror=False),
    "lmdb without layers": Serving(mirror=False, cache=False, flights=False, hot=False),
}


@pytest.mark.parametrize("store", STORES)
@cases
def test_every_question_agrees(case: Case, store: str, tmp_path: Path) -> None:
    url = "memory:" if store == "memory" else str(tmp_path / "authz")
    with open_stage(url, case, STORES[store]) as stage, async_face(stage.authz) as face:
        assert run_case(case, stage, face) == []


@cases
def test_set_algebra_agrees(case: Case) -> None:
    assert algebra_disagreements(case) == []


def algebra_disagreements(case: Case) -> list[str]:
    with open_stage("memory:", case) as stage:
        return [text for moment in moments_of(case, stage) for text in oracle_disagreements(moment)]


@cases
def test_the_other_languages_agree(case: Case) -> None:
    for translated in translations(case):
        with open_stage("memory:", translated) as stage:
            assert run_case(translated, stage) == [], translated.language


def translations(case: Case) -> Iterator[Case]:
    """The case in each other language that can say all of its schemas."""
    for language in LANGUAGES:
        if language != case.language and (found := translated(case, language)):
            yield found


def translated(case: Case, language: Language) -> Case | None:
    def text(schema: str) -> str:
        return print_schema(parse_schema(schema, case.language), language) if schema else ""

    try:
        steps = [msgspec.structs.replace(step, schema=text(step.schema)) for step in case.steps]
        own = text(case.schema)
    except Invalid:
        return None
    # What is refused is so in the language that it is written in.
    refused = [item for item in case.refused if not item.schema]
    steps = [_without_refused_schemas(step) for step in steps]
    return msgspec.structs.replace(case, language=language, schema=own, steps=steps, refused=refused)


def _without_refused_schemas(step: Step) -> Step:
    return msgspec.structs.replace(step, refused=[item for item in step.refused if not item.schema])


def test_each_language_tells_the_stories_of_each_other() -> None:
    pairs = {(case.language, other.language) for case in CORPUS for other in translations(case)}
    assert pairs == {(one, other) for one in LANGUAGES for other in LANGUAGES if one != other}


# what the corpus covers


@cache
def schemas() -> list[Schema]:
    texts = [(step.schema, case.language) for case in CORPUS for step in case.sequence() if step.schema]
    return [parse_schema(text, language) for text, language in texts]


def test_every_construct_of_the_model_has_a_case() -> None:
    relations = [
        relation for schema in schemas() for config in schema.namespaces for relation in config.relations
    ]
    nodes = [node for relation in relations for node in walk(relation.rewrite)]
    assert {type(node) for node in nodes} == set(get_args(Rewrite))
    assert {node.all for node in nodes if isinstance(node, TupleToUserset)} == {True, False}
    subjects = [subject for relation in relations for subject in relation.allowed or ()]
    for trait in ("relation", "wildcard", "condition", "expiration"):
        assert {bool(getattr(subject, trait)) for subject in subjects} == {True, False}, trait
    assert any(relation.allowed is None for relation in relations), "a relation without types"


def test_every_parameter_type_has_a_case() -> None:
    parameters = [p for schema in schemas() for condition in schema.conditions for p in condition.parameters]

    def names(type_: ValueType) -> set[str]:
        return {type_.name} | (names(type_.of) if type_.of else set())

    assert set().union(*(names(parameter.type) for parameter in parameters)) == {*SCALARS, "list", "map"}


def test_everything_to_cover_is_covered() -> None:
    assert (CONSTRUCTS | SECTION_9) - {tag for case in CORPUS for tag in case.covers} == set()
    assert {case.language for case in CORPUS} == set(LANGUAGES)
    assert len(CORPUS) >= 60


# the runner can fail


DECIDED_BY = set(QUESTIONS) - {"read"}


@cases
def test_a_wrong_expectation_is_noticed_by_every_question(case: Case) -> None:
    rng = random.Random(case.title)
    expectations = list(expectations_of(case))
    index, kind, key = rng.choice(expectations)
    wrong = negated(case, index, kind, key)
    with open_stage("memory:", wrong) as stage:
        told = run_case(wrong, stage)
        assert told
        if kind in ("allowed", "denied", "conditional"):
            said_by = {name for name in DECIDED_BY for text in told if f" {name}: " in text}
            assert said_by == DECIDED_BY
            assert algebra_disagreements(wrong)
        elif kind == "refused":
            assert any(" refused: " in text for text in told)
        else:
            assert any(f" {kind}: " in text for text in told)


def test_a_face_that_answers_otherwise_is_noticed() -> None:
    class Generous:
        """Says yes to every single check."""

        def __init__(self, authz: Authz) -> None:
            self._authz = authz

        def __getattr__(self, name: str) -> Any:
            return getattr(self._authz, name)

        def check(self, *question: Any, **options: Any) -> Decision:
            return msgspec.structs.replace(self._authz.check(*question, **options), allowed=True)

    case = CORPUS[0]
    with open_stage("memory:", case) as stage:
        told = run_case(case, stage, cast(Authz, Generous(stage.authz)))
    assert {text.split(": ")[1] for text in told} == {"check"}
    assert len(told) == sum(len(step.denied) for step in case.sequence())


def test_a_refused_write_that_leaves_a_trace_is_noticed() -> None:
    case = next(case for case in CORPUS if any(item.tuples for item in case.refused))
    with open_stage("memory:", case) as stage:
        write, strays = stage.authz.write, count()

        def careless(**changes: Any) -> Zookie:
            try:
                return write(**changes)
            finally:
                stage.store.write(Write(touch=(parse_tuple(f"stray:{next(strays)}#trace@user:left"),)))

        stage.authz.write = careless  # type: ignore[method-assign]
        assert any("something was written all the same" in text for text in run_case(case, stage))


def expectations_of(case: Case) -> Iterator[tuple[int, str, Any]]:
    """Every expectation of a case: the index of its step, its kind, its key there."""
    for index, step in enumerate([case, *case.steps]):
        for kind in ("allowed", "denied", "conditional", "list_objects", "list_subjects", "list_permissions"):
            yield from ((index, kind, key) for key in getattr(step, kind))
        for kind in ("expand", "explain"):
            yield from ((index, kind, key) for key in getattr(step, kind))
        if step.read is not None:
            yield index, "read", None
        yield from ((index, "refused", position) for position in range(len(step.refused)))


def negated(case: Case, index: int, kind: str, key: Any) -> Case:
    if index == 0:
        return msgspec.structs.replace(case, **_negated(case, kind, key))
    steps = list(case.steps)
    steps[index - 1] = msgspec.structs.replace(steps[index - 1], **_negated(steps[index - 1], kind, key))
    return msgspec.structs.replace(case, steps=steps)


def _negated(step: Step, kind: str, key: Any) -> dict[str, Any]:
    match kind:
        case "allowed":
            return {"allowed": [q for q in step.allowed if q != key], "denied": [*step.denied, key]}
        case "denied":
            return {"denied": [q for q in step.denied if q != key], "allowed": [*step.allowed, key]}
        case "conditional":
            rest = {question: names for question, names in step.conditional.items() if question != key}
            return {"conditional": rest, "allowed": [*step.allowed, key]}
        case "read":
            return {"read": [*(step.read or ()), "doc:never#viewer@user:written"]}
        case "refused":
            wrong = msgspec.structs.replace(step.refused[key], message="something else entirely")
            return {"refused": [*step.refused[:key], wrong, *step.refused[key + 1 :]]}
        case _:
            before = getattr(step, kind)
            return {kind: {**before, key: before[key][1:] if before[key] and kind != "explain" else ["x:y"]}}


# strict loading


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("title: a\nwhy: b\nschma: c\n", "f.yaml:3", "unknown field `schma`"),
        ("title: a\nwhy: b\nsteps:\n  - name: c\n    alowed: []\n", "f.yaml:5", "unknown field `alowed`"),
        ("title: a\ntitle: b\n", "f.yaml:2", "`title` stands twice"),
        ("title: a\nwhy: b\nallowed: [1]\n", "f.yaml:3", "Expected `str`, got `int`"),
        ("title: a\n", "f.yaml:1", "missing required field `why`"),
        ("title: [a\n", "f.yaml:2", "expected ',' or ']'"),
        ("title: a\nwhy: b\nschema: c\ncovers: [gravity]\n", "f.yaml:1", "`gravity` is nothing to cover"),
        ("title: a\nwhy: b\nschema: c\n", "f.yaml:1", "the case expects nothing"),
        ("title: a\nwhy: b\nschema: c\nallowed: [d]\n", "f.yaml:1", "`d` is not an object"),
        ("title: a\nwhy: b\nschema: c\nlanguage: yaml\n", "f.yaml:4", "Invalid enum value 'yaml'"),
        ("title: a\nwhy: b\n---\ntitle: c\nwat: d\n", "f.yaml:1", "a case has no schema"),
    ],
)
def test_what_is_no_case_is_refused_by_file_and_line(
    text: str, place: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(Invalid) as failure:
        load_cases(path)
    assert str(failure.value).startswith(f"{place}: ")
    assert message in str(failure.value)


def test_one_title_names_one_case(tmp_path: Path) -> None:
    case = "title: a\nwhy: b\nschema: c\nread: []\n"
    (tmp_path / "f.yaml").write_text(f"{case}---\n{case}")
    with pytest.raises(Invalid, match=r"f\.yaml:6: `a` is the title of f\.yaml:1 too"):
        load_corpus(tmp_path)
