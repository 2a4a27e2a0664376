"""Relation tuples: `object#relation@user`, their text form, and filters over them.

The text form is that of the Zanzibar paper, followed by an optional condition and an optional expiry:

    doc:1#viewer@group:eng#member[on_call:{"region":"eu"}][expiration:2030-01-01T00:00:00Z]

Ids are byte-exact; `user:ann@example.org` is written as it is. In text a backslash stands before `\\`, `#`
and `[` of an id, and line breaks are written `\\n` and `\\r`, so that `parse_tuple` and `str` are exact
inverses and a tuple is always one line.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec

from weft.core.errors import Invalid
from weft.core.limits import MAX_CONTEXT_BYTES, MAX_NAME_BYTES, MAX_OBJECT_ID_BYTES, within

WILDCARD: Final = "*"
"""The id of the user that stands for every object of its namespace; no object may have it."""
NAME: Final = r"[A-Za-z_][A-Za-z0-9_./-]*"
"""What namespaces, relations and conditions may be called (at most 64 bytes)."""

_ID: Final = r"(?:[^\\#\[\n\r]|\\[\\#\[nr])+"
_OBJECT: Final = re.compile(rf"({NAME}):({_ID})")
_USER: Final = re.compile(rf"({NAME}):({_ID})(?:#({NAME}))?")
_TUPLE: Final = re.compile(rf"({NAME}):({_ID})#({NAME})@({NAME}):({_ID})(?:#({NAME}))?(\[.*)?", re.DOTALL)
_SHORT: Final = rf"[A-Za-z_][A-Za-z0-9_./-]{{0,{MAX_NAME_BYTES - 1}}}"
_PLAIN: Final = rf"[^*\\#\[\n\r\x80-\U0010ffff]{{1,{MAX_OBJECT_ID_BYTES}}}"
_COMMON: Final = re.compile(rf"({_SHORT}):({_PLAIN})#({_SHORT})@({_SHORT}):({_PLAIN})(?:#({_SHORT}))?")
"""Tuples that need no second look: names and ASCII ids within their limits, nothing escaped, no wildcard, no
condition, no expiry."""
_NAME: Final = re.compile(NAME)
_EXPIRATION: Final = "[expiration:"
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)")
_SPECIAL: Final = re.compile(r"[\\#\[\n\r]")
_ESCAPED: Final = re.compile(r"\\(.)")
_LETTERS: Final = {"\n": "n", "\r": "r"}
_BREAKS: Final = {"n": "\n", "r": "\r"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LAST_US: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


class ObjectRef(msgspec.Struct, frozen=True, order=True, gc=False):
    """An object: `doc:1`."""

    namespace: str
    id: str

    def __str__(self) -> str:
        return f"{self.namespace}:{escaped(self.id)}"


class User(msgspec.Struct, frozen=True, order=True, gc=False):
    """Whom a tuple names: an object `user:ann`, a userset `group:eng#member`, or a wildcard `user:*`."""

    namespace: str
    id: str
    relation: str = ""
    """Empty, except in a userset."""

    @property
    def is_userset(self) -> bool:
        return self.relation != ""

    @property
    def is_wildcard(self) -> bool:
        return self.id == WILDCARD

    @property
    def object(self) -> ObjectRef:
        return ObjectRef(self.namespace, self.id)

    def __str__(self) -> str:
        plain = f"{self.namespace}:{escaped(self.id)}"
        return f"{plain}#{self.relation}" if self.relation else plain


class TupleCondition(msgspec.Struct, frozen=True, order=True, gc=False):
    """The condition on a tuple: its name and the part of its context that is stored with the tuple."""

    name: str
    context: str = "{}"
    """A JSON object in canonical text (sorted keys, no spaces): equal contexts have equal text."""

    @classmethod
    def of(cls, name: str, context: dict[str, Any] | None = None) -> TupleCondition:
        """From a plain dict of JSON values; `Invalid` where a value is not JSON."""
        return cls(name, canonical_json(context or {}))

    def values(self) -> dict[str, Any]:
        """The stored context as a fresh dict."""
        values: dict[str, Any] = json.loads(self.context)
        return values

    def __str__(self) -> str:
        return self.name if self.context == "{}" else f"{self.name}:{self.context}"


class RelationTuple(msgspec.Struct, frozen=True, gc=False):
    """`object#relation@user`, perhaps with a condition and an expiry."""

    object: ObjectRef
    relation: str
    user: User
    condition: TupleCondition | None = None
    expires_at_us: int | None = None
    """Microseconds since the Unix epoch, UTC; from this instant on the tuple does not count."""

    @property
    def key(self) -> tuple[str, str, str, str, str, str]:
        """What identifies the tuple in a store: condition and expiry are its value."""
        object_, user = self.object, self.user
        return object_.namespace, object_.id, self.relation, user.namespace, user.id, user.relation

    @property
    def unconditional(self) -> bool:
        """Whether the tuple counts in any context and at any instant."""
        return self.condition is None and self.expires_at_us is None

    def expired(self, now_us: int) -> bool:
        return self.expires_at_us is not None and self.expires_at_us <= now_us

    def __str__(self) -> str:
        text = f"{self.object}#{self.relation}@{self.user}"
        if self.condition is not None:
            text += f"[{self.condition}]"
        if self.expires_at_us is not None:
            text += f"{_EXPIRATION}{format_instant(self.expires_at_us)}]"
        return text


class TupleFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which tuples to read; None matches anything. `user_relation=""` matches users that are no usersets."""

    namespace: str | None = None
    object_id: str | None = None
    object_id_prefix: str | None = None
    relation: str | None = None
    user_namespace: str | None = None
    user_id: str | None = None
    user_relation: str | None = None

    @classmethod
    def of(
        cls,
        object: str | None = None,  # noqa: A002
        relation: str | None = None,
        user: str | None = None,
    ) -> TupleFilter:
        """From text: an object or user in full (`doc:1`, `group:eng#member`), or a namespace (`doc`)."""
        namespace, object_id = _namespace_or(object)
        filter_ = cls(namespace=namespace, object_id=object_id, relation=relation and checked_name(relation))
        if user is None:
            return filter_
        if ":" not in user:
            return msgspec.structs.replace(filter_, user_namespace=checked_name(user))
        whom = parse_user(user)
        return msgspec.structs.replace(
            filter_, user_namespace=whom.namespace, user_id=whom.id, user_relation=whom.relation
        )

    def matches(self, item: RelationTuple) -> bool:
        object_, user = item.object, item.user
        return (
            self.namespace in (None, object_.namespace)
            and self.object_id in (None, object_.id)
            and (self.object_id_prefix is None or object_.id.startswith(self.object_id_prefix))
            and self.relation in (None, item.relation)
            and self.user_namespace in (None, user.namespace)
            and self.user_id in (None, user.id)
            and self.user_relation in (None, user.relation)
        )


@lru_cache(maxsize=4_096)
def parse_object(text: str) -> ObjectRef:
    """`doc:1` as an object; `Invalid` with what to write instead."""
    match = _OBJECT.fullmatch(text)
    if match is None:
        raise _diagnose("object", text, text)
    return ObjectRef(checked_name(match[1]), _object_id(_unescape(match[2])))


@lru_cache(maxsize=4_096)
def parse_user(text: str) -> User:
    """`user:ann`, `group:eng#member` or `user:*`; `Invalid` with what to write instead."""
    match = _USER.fullmatch(text)
    if match is None:
        raise _diagnose("user", text, text)
    return _user(match[1], match[2], match[3] or "")


def parse_tuple(text: str) -> RelationTuple:
    """The inverse of `str(tuple)`; `Invalid` that names the place and what to write instead."""
    if match := _COMMON.fullmatch(text):
        namespace, object_id, relation, user_namespace, user_id, user_relation = match.groups("")
        return RelationTuple(
            ObjectRef(namespace, object_id), relation, User(user_namespace, user_id, user_relation)
        )
    match = _TUPLE.fullmatch(text)
    if match is None:
        raise _diagnose_tuple(text)
    namespace, object_id, relation, user_namespace, user_id, user_relation, rest = match.groups()
    condition, expires_at_us = _parse_suffixes(rest) if rest else (None, None)
    return RelationTuple(
        ObjectRef(checked_name(namespace), _object_id(_unescape(object_id))),
        checked_name(relation),
        _user(user_namespace, user_id, user_relation or ""),
        condition,
        expires_at_us,
    )


def check_tuple(item: RelationTuple) -> RelationTuple:
    """The tuple itself when its names, ids, context and expiry are well-formed; for tuples made by hand."""
    checked_name(item.object.namespace)
    _object_id(item.object.id)
    checked_name(item.relation)
    check_user(item.user)
    if item.condition is not None:
        checked_name(item.condition.name)
        if canonical_json(parse_context(item.condition.context)) != item.condition.context:
            raise Invalid(
                "the context of a tuple's condition is not canonical", hint="use `TupleCondition.of`"
            )
    if item.expires_at_us is not None and not 0 <= item.expires_at_us <= _LAST_US:
        raise Invalid(f"expiry `{item.expires_at_us}` is not a time between 1970 and 9999 in microseconds")
    return item


def check_user(user: User) -> User:
    """The user itself when its names and id are well-formed."""
    checked_name(user.namespace)
    if user.relation:
        checked_name(user.relation)
    if user.is_wildcard:
        if user.relation:
            raise Invalid(f"wildcard `{user}` has a relation", hint=f"write `{user.namespace}:*`")
    else:
        _object_id(user.id)
    return user


@lru_cache(maxsize=4_096)
def checked_name(name: str) -> str:
    """The name of a namespace, relation or condition itself; `Invalid` or `LimitExceeded` otherwise."""
    if len(name) > MAX_NAME_BYTES:
        within(f"name `{name[:20]}…`", len(name), MAX_NAME_BYTES)
    if _NAME.fullmatch(name) is None:
        raise Invalid(
            f"`{name}` is not a name", hint="start with a letter, then letters, digits, `_`, `-`, `.`, `/`"
        )
    return name


def canonical_json(context: dict[str, Any]) -> str:
    """A context as canonical JSON text: different contexts never share a text."""
    if not isinstance(context, dict):
        raise Invalid(
            f"a context is an object, got a {type(context).__name__}", hint='write `{"name": value}`'
        )
    try:
        _check_keys(context)
        text = json.dumps(context, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"a context holds what JSON cannot: {_one_line(error)}") from error
    within("a condition's context", size, MAX_CONTEXT_BYTES)
    return text


def parse_context(text: str) -> dict[str, Any]:
    """A JSON object as a context; `Invalid` for anything else, also for a key that stands twice."""
    context, end = _decode_context(text, 0)
    if end != len(text):
        raise Invalid("text follows the context of a condition", hint="end after the closing `}`")
    return context


def format_instant(instant_us: int) -> str:
    """Microseconds since the epoch as RFC 3339 in UTC: `2030-01-01T00:00:00Z`."""
    return (_EPOCH + timedelta(microseconds=instant_us)).isoformat().replace("+00:00", "Z")


def parse_instant(text: str) -> int:
    """The inverse of `format_instant`; other offsets from UTC are taken too."""
    try:
        if _INSTANT.fullmatch(text) is None:
            raise ValueError
        instant_us = (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        instant_us = -1
    if not 0 <= instant_us <= _LAST_US:
        raise Invalid(f"`{text[:40]}` is not a time", hint="write it like `2030-01-01T00:00:00Z`")
    return instant_us


def _user(namespace: str, raw_id: str, relation: str) -> User:
    if raw_id == WILDCARD and not relation:
        return User(checked_name(namespace), WILDCARD)
    return User(checked_name(namespace), _object_id(_unescape(raw_id)), relation and checked_name(relation))


def _object_id(value: str) -> str:
    if value.isascii() and 0 < len(value) <= MAX_OBJECT_ID_BYTES and value != WILDCARD:
        return value
    if value == WILDCARD:
        raise Invalid("`*` is not the id of an object", hint="only a user may be a wildcard: `user:*`")
    if not value:
        raise Invalid("an object's id is empty", hint="write `namespace:id`")
    try:
        within("an object's id", len(value.encode()), MAX_OBJECT_ID_BYTES)
    except UnicodeEncodeError as error:
        raise Invalid("an object's id holds half of a surrogate pair", hint="send UTF-8") from error
    return value


def escaped(id_: str) -> str:
    """An id as it is written in text."""
    if _SPECIAL.search(id_) is None:
        return id_
    return _SPECIAL.sub(lambda match: "\\" + _LETTERS.get(match[0], match[0]), id_)


def _unescape(value: str) -> str:
    return _ESCAPED.sub(lambda match: _BREAKS.get(match[1], match[1]), value) if "\\" in value else value


def _parse_suffixes(text: str) -> tuple[TupleCondition | None, int | None]:
    condition: TupleCondition | None = None
    expires_at_us: int | None = None
    at = 0
    while at < len(text):
        if text.startswith(_EXPIRATION, at) and not text.startswith("{", at + len(_EXPIRATION)):
            end = text.find("]", at)
            if expires_at_us is not None or end < 0:
                raise Invalid(
                    "a tuple's expiry has no `]` or stands twice", hint="end with `[expiration:…Z]`"
                )
            expires_at_us = parse_instant(text[at + len(_EXPIRATION) : end])
        else:
            if condition is not None:
                raise Invalid("a tuple has two conditions", hint="keep one `[name:{…}]`")
            condition, end = _parse_condition(text, at)
        at = end + 1
    return condition, expires_at_us


def _parse_condition(text: str, at: int) -> tuple[TupleCondition, int]:
    name = _NAME.match(text, at + 1)
    if text[at] != "[" or name is None:
        raise Invalid(f"`{text[at : at + 40]}` is not a condition", hint='write `[name:{"key": value}]`')
    context, end = (
        (_decode_context(text, name.end() + 1)) if text.startswith(":", name.end()) else ({}, name.end())
    )
    if not text.startswith("]", end):
        raise Invalid(f"condition `{name[0]}` has no closing `]`", hint='write `[name:{"key": value}]`')
    return TupleCondition(checked_name(name[0]), canonical_json(context)), end


def _decode_context(text: str, at: int) -> tuple[dict[str, Any], int]:
    try:
        context, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise Invalid(
            f"the context of a condition is not JSON: {_one_line(error)}", hint='write `{"key": 1}`'
        ) from error
    if not isinstance(context, dict):
        raise Invalid("the context of a condition is not a JSON object", hint='write `{"key": 1}`')
    return context, end


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(context := dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return context


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)


def _check_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is not a string")
            _check_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_keys(inner)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "it is nested too deeply"


def _namespace_or(text: str | None) -> tuple[str | None, str | None]:
    if text is None or ":" not in text:
        return text and checked_name(text), None
    ref = parse_object(text)
    return ref.namespace, ref.id


def _diagnose_tuple(text: str) -> Invalid:
    place = re.match(rf"{NAME}:{_ID}", text)
    if place is None or text[place.end() : place.end() + 1] not in ("#", ""):
        return _diagnose("object", text, text)
    rest = text[place.end() :]
    relation = re.match(rf"#{NAME}@", rest)
    if relation is None:
        return Invalid(
            f"relation tuple `{text[:80]}` lacks `#relation@` after `{place[0][:40]}`",
            hint="write `doc:1#viewer@user:ann`",
        )
    return _diagnose("user", rest[relation.end() :], text)


def _diagnose(what: str, part: str, text: str) -> Invalid:
    example = "doc:1" if what == "object" else "user:ann"
    hint = f"write it like `{example}`; put `\\` before `\\`, `#` and `[` inside an id"
    return Invalid(
        f"`{part[:80]}` is not {'an object' if what == 'object' else 'a user'} (in `{text[:80]}`)", hint=hint
    )
