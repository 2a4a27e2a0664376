"""OpenFGA's store files: a model, tuples, and tests of checks and lists.

Source: the public documentation of the store file format of OpenFGA's CLI.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from weft.authz.schema import Language
from weft.authz.tuples import ObjectRef, RelationTuple, TupleCondition, User, check_tuple, check_user
from weft.cli.authz.testing.assertions import CheckIs, ObjectsAre, SubjectsAre, Verdict
from weft.cli.authz.testing.suite import Assertion, Case, PlacedSchema, PlacedTuple
from weft.cli.authz.testing.tuple_csv import read_tuple_csv
from weft.cli.authz.testing.yaml_source import Part, load_yaml
from weft.cli.inputs import read_text
from weft.core.errors import Invalid, LimitExceeded

KEYS: Final = ("name", "model", "model_file", "tuples", "tuple_file", "tuple_files", "tests")
_TEST_KEYS: Final = (
    "name",
    "description",
    "tuples",
    "tuple_file",
    "tuple_files",
    "check",
    "list_objects",
    "list_users",
)
T = TypeVar("T")


def read_openfga(source: Part) -> list[Case]:
    """One case for each test of a store file; `Invalid` names file, line and remedy."""
    parts = source.mapping("a store file", KEYS)
    schema = _schema(source, parts)
    stored = list(_tuples(source, parts))
    tests = parts["tests"].items("`tests`") if "tests" in parts else []
    if not tests:
        raise source.error("there are no tests", "write `tests` with a `name` and `check`")
    return [_case(test, schema, stored) for test in tests]


def _schema(source: Part, parts: dict[str, Part]) -> PlacedSchema:
    if ("model" in parts) == ("model_file" in parts):
        raise source.error("the model is given twice or not at all", "write `model` or `model_file`")
    if inline := parts.get("model"):
        text = inline.text_in_place("the model")
        return PlacedSchema(str(source.file), text, _language(text))
    file = _beside(source, parts["model_file"])
    if file.suffix == ".mod":
        raise parts["model_file"].error(
            f"`{file.name}` lists modules", "join them to one file, which may hold several modules"
        )
    text = read_text(file)
    return PlacedSchema(str(file), text, _language(text))


def _language(text: str) -> Language:
    return "fga-json" if text.lstrip().startswith("{") else "fga"


def _case(test: Part, schema: PlacedSchema, stored: list[PlacedTuple]) -> Case:
    parts = test.mapping("a test", _TEST_KEYS)
    name = _need(test, parts, "name").text("the name of a test")
    assertions: list[Assertion] = []
    for key, read in (("check", _checks), ("list_objects", _objects), ("list_users", _users)):
        if key in parts:
            for item in parts[key].items(f"`{key}`"):
                assertions += read(item)
    if not assertions:
        raise test.error(f"test `{name}` asserts nothing", "write `check`, `list_objects` or `list_users`")
    return Case(name, schema, [*stored, *_tuples(test, parts)], assertions)


def _tuples(source: Part, parts: dict[str, Part]) -> Iterator[PlacedTuple]:
    """The tuples of a file or a test, and those of the files that it names."""
    if "tuples" in parts:
        yield from map(_tuple, parts["tuples"].items("`tuples`"))
    named = parts["tuple_files"].items("`tuple_files`") if "tuple_files" in parts else []
    for part in [*named, *([parts["tuple_file"]] if "tuple_file" in parts else [])]:
        file = _beside(source, part)
        if file.suffix == ".csv":
            yield from read_tuple_csv(file)
        elif file.suffix in (".yaml", ".yml", ".json"):
            yield from map(_tuple, load_yaml(file).items("a file of tuples"))
        else:
            raise part.error(f"`{file.name}` is neither YAML, JSON nor CSV", "convert it to one of them")


def _tuple(part: Part) -> PlacedTuple:
    parts = part.mapping("a tuple", ("user", "relation", "object", "condition"))
    condition = parts.get("condition")
    item = _at(
        part,
        lambda: check_tuple(
            RelationTuple(
                _object(_need(part, parts, "object")),
                _need(part, parts, "relation").text("a relation"),
                _user(_need(part, parts, "user")),
                None if condition is None or condition.missing else _condition(condition),
            )
        ),
    )
    return PlacedTuple(part.place, item)


def _condition(part: Part) -> TupleCondition:
    parts = part.mapping("a condition", ("name", "context"))
    return TupleCondition.of(_need(part, parts, "name").text("the name of a condition"), _context(parts))


def _checks(part: Part) -> Iterator[Assertion]:
    parts = part.mapping("a check", ("user", "users", "object", "objects", "context", "assertions"))
    context = _context(parts)
    users = list(map(_user, _one_or_more(part, parts, "user")))
    objects = list(map(_object, _one_or_more(part, parts, "object")))
    for relation, expected in _need(part, parts, "assertions").mapping("assertions").items():
        allowed = expected.boolean(f"what is expected of `{relation}`")
        verdict: Verdict = "allowed" if allowed else "denied"
        for user in users:
            for object_ in objects:
                yield CheckIs(expected.place, object_, relation, user, verdict, context)


def _objects(part: Part) -> Iterator[Assertion]:
    parts = part.mapping("a list of objects", ("user", "type", "context", "assertions"))
    user, namespace = _user(_need(part, parts, "user")), _need(part, parts, "type").text("a type")
    for relation, listed in _need(part, parts, "assertions").mapping("assertions").items():
        expected = frozenset(str(_object(item)) for item in listed.items(f"`{relation}`"))
        yield ObjectsAre(listed.place, namespace, relation, user, expected, _context(parts))


def _users(part: Part) -> Iterator[Assertion]:
    parts = part.mapping("a list of users", ("object", "user_filter", "context", "assertions"))
    object_ = _object(_need(part, parts, "object"))
    kinds = tuple(map(_kind, _need(part, parts, "user_filter").items("`user_filter`")))
    for relation, expected in _need(part, parts, "assertions").mapping("assertions").items():
        listed = _need(expected, expected.mapping("what is expected", ("users",)), "users")
        users = frozenset(str(_user(item)) for item in listed.items("`users`"))
        yield SubjectsAre(expected.place, object_, relation, kinds, users, _context(parts))


def _kind(part: Part) -> str:
    parts = part.mapping("a filter of users", ("type", "relation"))
    kind = _need(part, parts, "type").text("a type")
    return f"{kind}#{parts['relation'].text('a relation')}" if "relation" in parts else kind


def _object(part: Part) -> ObjectRef:
    namespace, sign, id_ = part.text("an object").partition(":")
    if not (namespace and sign and id_):
        raise part.error(f"`{namespace[:80]}` is not an object", "write it like `doc:1`")
    return ObjectRef(namespace, id_)


def _user(part: Part) -> User:
    """OpenFGA escapes nothing: what stands behind the last `#` is a relation."""
    object_ = _object(part)
    id_, sign, relation = object_.id.rpartition("#")
    user = User(object_.namespace, id_, relation) if sign else User(object_.namespace, object_.id)
    return _at(part, lambda: check_user(user))


def _context(parts: dict[str, Part]) -> dict[str, Any]:
    part = parts.get("context")
    if part is None or part.missing:
        return {}
    part.mapping("a context")
    found: dict[str, Any] = part.plain()
    return found


def _one_or_more(part: Part, parts: dict[str, Part], name: str) -> list[Part]:
    """What stands under `user` or `users`."""
    if name in parts and f"{name}s" in parts:
        raise part.error(f"both `{name}` and `{name}s` are given", "keep one of them")
    return parts[f"{name}s"].items(f"`{name}s`") if f"{name}s" in parts else [_need(part, parts, name)]


def _need(part: Part, parts: dict[str, Part], name: str) -> Part:
    if name not in parts:
        raise part.error(f"`{name}` is missing", f"write `{name}: …`")
    return parts[name]


def _beside(source: Part, part: Part) -> Path:
    return source.file.parent / part.text("the name of a file")


def _at(part: Part, make: Callable[[], T]) -> T:
    try:
        return make()
    except (Invalid, LimitExceeded) as error:
        if error.message.startswith(f"{part.file}:"):
            raise
        raise part.error(error.message, error.hint) from error
