"""The corpus of authorization: small stories in YAML that every store, question and face must agree on.

A file holds cases, one YAML document each. A case is a schema, tuples and what follows from them; its `steps`
change something and say what follows then. Whatever a step does not give, `now`, `context` and
`contextual_tuples`, it takes from the case. Questions are written as tuples: `doc:1#view@user:ann`.
In any text `${a*1000}` stands for a thousand times `a`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from weft.authz.schema import Language
from weft.authz.tuples import RelationTuple, parse_instant, parse_tuple
from weft.core.errors import Invalid, WeftError
from weft.core.limits import MAX_DEPTH

CONSTRUCTS: Final = frozenset(
    {
        "contextual-tuples",
        "cycle",
        "depth",
        "diamond",
        "exact-snapshot",
        "exclusion-over-a-cycle",
        "expiry-at-the-instant",
        "identity-blanks",
        "identity-case",
        "identity-long",
        "identity-nul",
        "identity-signs",
        "identity-unicode",
        "nested-groups",
        "nested-operators",
        "partial-context",
        "relation-on-both-sides-of-a-list",
        "stored-context-wins",
        "three-values-exclusion",
        "three-values-intersection",
        "three-values-union",
        "wildcard-with-exclusion",
    }
)
"""What a case may cover beside the constructs of the model, which are counted in its schema."""

SECTION_9: Final = frozenset(
    {
        "9-alike-items-in-a-bulk-check",
        "9-cache-keys-of-nested-lists",
        "9-condition-contexts-apart",
        "9-conditional-not-plain",
        "9-cut-off-not-cached",
        "9-cycle-guard-not-cached",
        "9-identifiers-not-folded",
        "9-identifiers-not-trimmed",
        "9-ipv4-mapped-ipv6",
        "9-missing-context-not-cached",
        "9-plans-of-exponential-cost",
        "9-relation-on-both-sides-of-a-union",
        "9-tuples-outside-the-types",
        "9-wildcards-outside-the-types",
    }
)
"""Ways such systems have gone wrong that data can say; the others are about time, threads and servers."""

_PATH: Final = re.compile(r" - at `(?:key in )?\$(.*?)`$")
_PATH_STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]")
_UNKNOWN: Final = re.compile(r"unknown field `(.*?)`")
_REPEATED: Final = re.compile(r"\$\{(.)\*(\d+)\}")
_SCALARS: Final = {
    "null": r"null",
    "bool": r"true|false",
    "int": r"-?(?:0|[1-9][0-9]*)",
    "float": r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:e[+-]?[0-9]+)?)",
}
"""What a plain scalar is besides a text: what JSON says, so that `no` and `12:30` are texts."""


class Refused(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One thing that must fail, and leave no trace: a schema, a write or a check."""

    code: str
    message: str
    """Part of the error's text."""
    schema: str = ""
    tuples: list[str] = []
    create: list[str] = []
    delete: list[str] = []
    must_exist: list[str] = []
    must_not_exist: list[str] = []
    check: str = ""

    @property
    def writes(self) -> bool:
        return bool(self.tuples or self.create or self.delete or self.must_exist or self.must_not_exist)


class Step(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What changes, in one commit, and what follows from it."""

    name: str = ""
    """For later steps to look back `at`."""
    why: str = ""
    at: str = ""
    """The step whose exact snapshot is asked; such a step changes nothing."""
    schema: str = ""
    tuples: list[str] = []
    """Touched."""
    create: list[str] = []
    delete: list[str] = []
    stored: list[str] = []
    """Put into the store past the schema, as if an older schema had admitted them."""
    now: str | None = None
    context: dict[str, Any] | None = None
    contextual_tuples: list[str] | None = None

    allowed: list[str] = []
    denied: list[str] = []
    conditional: dict[str, list[str]] = {}
    """By question the names of missing context."""
    list_objects: dict[str, list[str]] = {}
    """By `doc#view@user:ann` the whole list; a conditional item is written `doc:1 if ip, hour`."""
    list_subjects: dict[str, list[str]] = {}
    """By `doc:1#view@user` the whole list; who is not meant by a wildcard is written `not user:ann`."""
    list_permissions: dict[str, list[str]] = {}
    """By `doc:1@user:ann`."""
    expand: dict[str, list[str]] = {}
    """By `doc:1#view` the users that tuples in the tree name, sorted."""
    read: list[str] | None = None
    """All tuples that stand."""
    explain: dict[str, list[str]] = {}
    """By question, parts of the explanation's text."""
    refused: list[Refused] = []


class Case(Step, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One story; its own schema and tuples are its first step."""

    title: str
    why: str
    covers: list[str] = []
    language: Language = "zed"
    max_depth: int = MAX_DEPTH
    steps: list[Step] = []
    place: str = ""
    """File and line, for messages."""

    def sequence(self) -> Iterator[Step]:
        """The steps in order, each with all that it takes from the case."""
        own = {name: getattr(self, name) for name in Step.__struct_fields__}
        yield _complete(self, Step(**own))
        for step in self.steps:
            yield _complete(self, step)


def _complete(case: Case, step: Step) -> Step:
    inherited = {
        name: getattr(case, name)
        for name in ("now", "context", "contextual_tuples")
        if getattr(step, name) is None
    }
    return msgspec.structs.replace(step, **inherited) if inherited else step


def load_corpus(folder: Path) -> list[Case]:
    """Every case of every `.yaml` file of a folder; `Invalid` with file and line for what is not a case."""
    cases = [case for path in sorted(folder.glob("*.yaml")) for case in load_cases(path)]
    _require_distinct(cases)
    return cases


def load_cases(path: Path) -> list[Case]:
    """The cases of one file."""
    import yaml

    loader = _loader(path.read_text(encoding="utf-8"))
    try:
        cases = []
        while loader.check_node():
            cases.append(_case(path.name, loader.get_node()))
        return cases
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _wrong(path.name, (mark.line if mark else 0) + 1, error.problem or "not YAML") from error
    finally:
        loader.dispose()


def questions(texts: Iterable[str]) -> Iterator[RelationTuple]:
    """Questions from their text; `Invalid` for a condition or an expiry, which are no part of a question."""
    for text in texts:
        item = parse_tuple(text)
        if item.condition is not None or item.expires_at_us is not None:
            raise Invalid(f"question `{text}` has a condition or an expiry", hint="write them with the tuple")
        yield item


def _loader(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Scalars as JSON has them."""

        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML types it

    for name, pattern in _SCALARS.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern})\Z"), None)
    return Loader(text)


def _case(file: str, node: Any) -> Case:
    _require_unique_keys(file, node)
    line = node.start_mark.line + 1
    try:
        case = msgspec.convert(_built(node), Case)
    except msgspec.ValidationError as error:
        raise _wrong(file, _line_of(node, str(error)), str(error)) from None
    try:
        _require_sense(case)
    except WeftError as error:
        raise _wrong(file, line, str(error)) from None
    return msgspec.structs.replace(case, place=f"{file}:{line}")


def _built(node: Any) -> Any:
    import yaml

    if isinstance(node, yaml.MappingNode):
        return {_long(key.value): _built(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_built(item) for item in node.value]
    found = yaml.constructor.SafeConstructor().construct_object(node)
    return _long(found) if isinstance(found, str) else found


def _long(text: str) -> str:
    return _REPEATED.sub(lambda match: match[1] * int(match[2]), text)


def _require_unique_keys(file: str, node: Any) -> None:
    import yaml

    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                raise _wrong(file, key.start_mark.line + 1, f"`{key.value}` stands twice")
            seen.add(key.value)
            _require_unique_keys(file, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _require_unique_keys(file, item)


def _line_of(node: Any, message: str) -> int:
    """The line that a validation error is about."""
    path = _PATH.search(message)
    for name, index in _PATH_STEP.findall(path[1]) if path else ():
        found = (
            [value for key, value in node.value if key.value == name] if name else [node.value[int(index)]]
        )
        node = found[0] if found else node
    unknown = _UNKNOWN.search(message)
    if unknown:
        node = next(key for key, _ in node.value if key.value == unknown[1])
    line: int = node.start_mark.line
    return line + 1


def _require_sense(case: Case) -> None:
    if strange := set(case.covers) - CONSTRUCTS - SECTION_9:
        raise Invalid(f"`{min(strange)}` is nothing to cover", hint="see CONSTRUCTS and SECTION_9")
    if not case.schema:
        raise Invalid("a case has no schema")
    named: set[str] = set()
    for step in case.sequence():
        if step.at and (step.at not in named or step.schema or step.tuples or step.create or step.delete):
            raise Invalid(f"a step at `{step.at}` changes something, or no step before it has that name")
        named.add(step.name)
        if step.now is not None:
            parse_instant(step.now)
        asked = [str(item) for item in questions([*step.allowed, *step.denied, *step.conditional])]
        if len(set(asked)) != len(asked):
            raise Invalid("a step expects two things of one question")
        list(questions(step.explain))
        for refused in step.refused:
            if bool(refused.schema) + refused.writes + bool(refused.check) != 1:
                raise Invalid(f"`{refused.message}`: refuse one schema, write or check")
        expects = step.read is not None or any(getattr(step, name) for name in EXPECTATIONS)
        if not expects and not case.steps:
            raise Invalid("the case expects nothing", hint="say what follows from it")


EXPECTATIONS: Final = (
    "allowed",
    "denied",
    "conditional",
    "list_objects",
    "list_subjects",
    "list_permissions",
    "expand",
    "read",
    "explain",
    "refused",
)


def _require_distinct(cases: list[Case]) -> None:
    titles: dict[str, str] = {}
    for case in cases:
        if case.title in titles:
            raise Invalid(f"{case.place}: `{case.title}` is the title of {titles[case.title]} too")
        titles[case.title] = case.place


def _wrong(file: str, line: int, message: str) -> Invalid:
    return Invalid(f"{file}:{line}: {message}")
