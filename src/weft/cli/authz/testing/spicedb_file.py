"""SpiceDB's validation files: a schema, relationships, assertions and expected relations.

Source: the public documentation of SpiceDB's validation and debugging tools.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from weft.authz.tuples import RelationTuple, parse_context, parse_object, parse_tuple
from weft.cli.authz.testing.assertions import CheckIs, Verdict
from weft.cli.authz.testing.subjects import RelationsAre, read_subject
from weft.cli.authz.testing.suite import Assertion, Case, PlacedSchema, PlacedTuple
from weft.cli.authz.testing.yaml_source import Part
from weft.cli.inputs import read_text
from weft.core.errors import Invalid, LimitExceeded

KEYS: Final = ("schema", "schemaFile", "relationships", "assertions", "validation")
_ASSERTIONS: Final[dict[str, Verdict]] = {
    "assertTrue": "allowed",
    "assertFalse": "denied",
    "assertCaveated": "conditional",
}
_WITH: Final = re.compile(r"(?P<tuple>.*?)\s+with\s+(?P<context>\{.*)", re.DOTALL)
_ELLIPSIS: Final = re.compile(r"#\.\.\.(?=\[|$)")


def read_spicedb(source: Part) -> list[Case]:
    """The one case of a validation file; `Invalid` names file, line and remedy."""
    parts = source.mapping("a validation file", KEYS)
    assertions = [*_assertions(parts), *_expected(parts)]
    if not assertions:
        raise source.error("nothing is asserted", "write `assertions` or `validation`")
    return [Case("", _schema(source, parts), list(_tuples(parts)), assertions)]


def _schema(source: Part, parts: dict[str, Part]) -> PlacedSchema:
    if ("schema" in parts) == ("schemaFile" in parts):
        raise source.error("the schema is given twice or not at all", "write `schema` or `schemaFile`")
    if inline := parts.get("schema"):
        return PlacedSchema(str(source.file), inline.text_in_place("the schema"), "zed")
    file = source.file.parent / Path(parts["schemaFile"].text("the schema's file"))
    return PlacedSchema(str(file), read_text(file), "zed")


def _tuples(parts: dict[str, Part]) -> Iterator[PlacedTuple]:
    written = parts.get("relationships")
    if written is None or written.missing:
        return
    for place, line in written.text_lines("the relationships"):
        if not line.startswith("//"):
            yield PlacedTuple(place, _tuple(place, line))


def _assertions(parts: dict[str, Part]) -> Iterator[Assertion]:
    if "assertions" not in parts:
        return
    for key, listed in parts["assertions"].mapping("`assertions`", tuple(_ASSERTIONS)).items():
        for part in listed.items(f"`{key}`"):
            yield _check(part, _ASSERTIONS[key])


def _check(part: Part, expected: Verdict) -> CheckIs:
    text = part.text("an assertion").strip()
    split = _WITH.fullmatch(text)
    item = _tuple(part.place, split["tuple"] if split else text)
    if item.condition or item.expires_at_us is not None:
        raise part.error(f"assertion `{text[:80]}` has a caveat", 'put context behind it: `with {"key": 1}`')
    try:
        context = parse_context(split["context"]) if split else {}
    except (Invalid, LimitExceeded) as error:
        raise part.error(error.message, error.hint) from error
    return CheckIs(part.place, item.object, item.relation, item.user, expected, context)


def _expected(parts: dict[str, Part]) -> Iterator[Assertion]:
    if "validation" not in parts:
        return
    for userset, listed in parts["validation"].mapping("`validation`").items():
        object_, sign, relation = userset.rpartition("#")
        if not sign:
            raise listed.error(f"`{userset[:80]}` is not `object#relation`", "write `doc:1#view`")
        try:
            subjects = [
                read_subject(part.text("an expected relation")) for part in listed.items(f"`{userset}`")
            ]
            yield RelationsAre(listed.place, parse_object(object_), relation, tuple(subjects))
        except (Invalid, LimitExceeded) as error:
            raise listed.error(error.message, error.hint) from error


def _tuple(place: str, text: str) -> RelationTuple:
    """SpiceDB may write `#...` behind a user that is no userset."""
    try:
        return parse_tuple(_ELLIPSIS.sub("", text, count=1))
    except (Invalid, LimitExceeded) as error:
        raise Invalid(f"{place}: {error.message}", hint=error.hint) from error
