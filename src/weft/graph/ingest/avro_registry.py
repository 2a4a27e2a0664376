"""A schema registry in a folder: Avro schemas by id and subject, and values in Confluent's wire format.

The folder can be kept under version control: `ids/7.avsc` is a schema, `subjects/plays-value.json` lists a
subject's versions and its compatibility. Compatibility levels mean what they mean in Confluent's Schema
Registry, whose REST interface has the same words.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, get_args
from urllib.parse import quote

import msgspec

from weft.core.errors import Conflict, Corrupt, Invalid, NotFound
from weft.core.extras import require

Compatibility = Literal[
    "BACKWARD",
    "BACKWARD_TRANSITIVE",
    "FORWARD",
    "FORWARD_TRANSITIVE",
    "FULL",
    "FULL_TRANSITIVE",
    "NONE",
]
Schema = dict[str, Any] | list[Any] | str

_HEADER: Final = struct.Struct(">bI")
_MAGIC: Final = 0


class _Subject(msgspec.Struct):
    compatibility: Compatibility = "BACKWARD"
    versions: list[int] = []


class SchemaRegistry:
    """Registers schemas and encodes and decodes by them. Several processes may share a folder."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._parsed: dict[int, Any] = {}
        for part in ("ids", "subjects"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)

    def register(self, subject: str, schema: Schema) -> int:
        """Add a schema as the newest version of a subject; its id. `Conflict` unless it is compatible with
        the version before, or with all before where the level is transitive. A schema that a subject has
        already keeps its id."""
        text = _text(schema)
        with self._locked():
            known = self._subject(subject)
            for version in known.versions:
                if self._read(version) == text:
                    return version
            problems = self._problems(subject, known, text)
            if problems:
                raise Conflict(
                    f"the schema is not {known.compatibility} compatible with {problems[0]}",
                    hint="give new fields a default, or register under a new subject",
                )
            number = self._id_of(text)
            known.versions.append(number)
            _replace(self._subject_path(subject), msgspec.json.encode(known))
            return number

    def check(self, subject: str, schema: Schema) -> list[str]:
        """What keeps a schema from being the next version of a subject; empty when nothing does."""
        return self._problems(subject, self._subject(subject), _text(schema))

    def set_compatibility(self, subject: str, level: Compatibility) -> None:
        """What the next versions of a subject are held to. The default is `BACKWARD`."""
        if level not in get_args(Compatibility):
            raise Invalid(
                f"`{level}` is no compatibility level", hint=f"use {', '.join(get_args(Compatibility))}"
            )
        with self._locked():
            known = self._subject(subject)
            known.compatibility = level
            _replace(self._subject_path(subject), msgspec.json.encode(known))

    def versions(self, subject: str) -> list[int]:
        """The ids of a subject's schemas, oldest first."""
        return self._subject(subject).versions

    def schema(self, number: int) -> Any:
        """The schema with an id, as JSON data; `NotFound` when there is none."""
        return json.loads(self._read(number))

    def encode(self, number: int, value: Any) -> bytes:
        """A value in Confluent's wire format: a zero byte, the schema's id in four bytes, the Avro datum."""
        out = io.BytesIO(_HEADER.pack(_MAGIC, number))
        out.seek(0, io.SEEK_END)
        try:
            require("fastavro", "avro").schemaless_writer(out, self._parse(number), value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Invalid(f"the value does not fit schema {number}: {error}") from error
        return out.getvalue()

    def decoder(self, reader: Schema | None = None) -> Callable[[bytes], Any]:
        """A function from wire format to values, for `Decoded`. With a `reader` schema, values of all
        compatible versions come in its shape. It raises `Invalid` or `NotFound` for what does not decode."""
        fastavro = require("fastavro", "avro")
        shape = None if reader is None else _parse(reader)

        def decode(data: bytes) -> Any:
            if not isinstance(data, bytes) or len(data) < _HEADER.size or data[0] != _MAGIC:
                raise Invalid("it does not begin as Confluent's wire format does")
            stream = io.BytesIO(data)
            stream.seek(_HEADER.size)
            writer = self._parse(_HEADER.unpack_from(data)[1])
            try:
                value = fastavro.schemaless_reader(stream, writer, shape)
            except Exception as error:
                raise Invalid(
                    f"it is no datum of its schema: {str(error) or type(error).__name__}"
                ) from error
            if stream.read(1):
                raise Invalid("bytes are left behind its datum")
            return value

        return decode

    def _problems(self, subject: str, known: _Subject, text: str) -> list[str]:
        """Per version that it does not fit, the newest first, what that is and why."""
        level, _, transitive = known.compatibility.partition("_")
        problems = []
        for version in range(len(known.versions), 0, -1):
            before = self._read(known.versions[version - 1])
            why = []
            if level in ("BACKWARD", "FULL"):
                why += _unreadable(reader=text, writer=before)
            if level in ("FORWARD", "FULL"):
                why += _unreadable(reader=before, writer=text)
            if why:
                problems.append(f"version {version} of `{subject}`: {'; '.join(why)}")
            if not transitive:
                break
        return problems

    def _id_of(self, text: str) -> int:
        """The id of a schema, whatever subject it came with; a new one if it is new."""
        numbers = sorted(int(path.stem) for path in (self._folder / "ids").glob("*.avsc"))
        for number in numbers:
            if self._read(number) == text:
                return number
        number = numbers[-1] + 1 if numbers else 1
        _replace(self._id_path(number), text.encode())
        return number

    def _parse(self, number: int) -> Any:
        if number not in self._parsed:
            self._parsed[number] = _parse(self.schema(number))
        return self._parsed[number]

    def _read(self, number: int) -> str:
        try:
            return self._id_path(number).read_text()
        except FileNotFoundError:
            raise NotFound(f"there is no schema with id {number}", hint="copy it into the registry") from None

    def _subject(self, name: str) -> _Subject:
        path = self._subject_path(name)
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Subject)
        except FileNotFoundError:
            return _Subject()
        except msgspec.MsgspecError as error:
            raise Corrupt(f"`{path}` does not decode: {error}", hint="restore it") from error

    def _subject_path(self, name: str) -> Path:
        return self._folder / "subjects" / f"{quote(name, safe='')}.json"

    def _id_path(self, number: int) -> Path:
        return self._folder / "ids" / f"{number}.avsc"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _text(schema: Schema) -> str:
    """One spelling for a schema; `Invalid` unless it is one."""
    _parse(schema)
    return json.dumps(schema, separators=(",", ":"))


def _parse(schema: Schema) -> Any:
    fastavro = require("fastavro", "avro")
    try:
        return fastavro.parse_schema(schema)
    except Exception as error:
        raise Invalid(f"it is no Avro schema: {type(error).__name__}: {error}") from error


def _unreadable(*, reader: str, writer: str) -> list[str]:
    """Why values of one schema cannot be read by another, by the rules of Avro's schema resolution."""
    compatibility = require("avro.compatibility", "avro")
    schema = require("avro.schema", "avro")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it does not know every logical type, and none matters here
        found = compatibility.ReaderWriterCompatibilityChecker().get_compatibility(
            schema.parse(reader), schema.parse(writer)
        )
    kinds = [kind.name.replace("_", " ") for kind in found.incompatibilities]
    return [f"{', '.join(kinds)} at {', '.join(sorted(found.locations))}"] if kinds else []


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
