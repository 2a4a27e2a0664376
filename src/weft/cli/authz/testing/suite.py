"""What test files are read into: stores, and the assertions on each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

from weft.authz import Authz
from weft.authz.schema import Language, SchemaError
from weft.authz.tuples import RelationTuple
from weft.core.errors import Invalid, WeftError


class Fault(NamedTuple):
    """How an assertion failed."""

    expected: str
    came: str
    explanation: str = ""


class Assertion(Protocol):
    """Something that has to be so."""

    @property
    def place(self) -> str:
        """`file:line`."""

    @property
    def text(self) -> str:
        """What it says, in a line."""

    def judge(self, authz: Authz) -> Fault | None:
        """None when it is so."""


class PlacedTuple(NamedTuple):
    """A tuple, and where it is written."""

    place: str
    item: RelationTuple


class PlacedSchema(NamedTuple):
    """A schema, whose lines are counted as in its file."""

    file: str
    text: str
    language: Language


class Case(msgspec.Struct, frozen=True):
    """One store, and what is asserted of it."""

    name: str
    schema: PlacedSchema
    tuples: Sequence[PlacedTuple]
    assertions: Sequence[Assertion]

    def open(self) -> Authz:
        """The store in memory; `Invalid` names the place of what it refuses."""
        authz = Authz.open("memory:")
        try:
            authz.write_schema(self.schema.text, self.schema.language)
        except SchemaError as error:
            error.message = f"{self.schema.file}: {error.message}"
            raise
        try:
            authz.import_tuples(str(placed.item) for placed in self.tuples)
        except Invalid as error:
            number = error.fields.get("line")
            if not isinstance(number, int):
                raise
            message = error.message.removeprefix(f"line {number}: ")
            raise Invalid(f"{self.tuples[number - 1].place}: {message}", hint=error.hint) from error
        return authz


class Outcome(NamedTuple):
    """An assertion that was run."""

    case: str
    assertion: Assertion
    fault: Fault | None


def run(case: Case) -> Iterator[Outcome]:
    """Judge every assertion of a case; one that cannot be asked has failed, too."""
    with case.open() as authz:
        for assertion in case.assertions:
            try:
                fault = assertion.judge(authz)
            except WeftError as error:
                fault = Fault("an answer", f"error: {error}")
            yield Outcome(case.name, assertion, fault)
