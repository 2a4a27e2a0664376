"""Secrets are taken out of everything before it is recorded, shown or sent to a model."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

MARK: Final = "[secret removed]"

_PATTERNS: Final = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{30,}\b|\bgithub_pat_[A-Za-z0-9_]{30,}\b"),
    re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+"),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
    re.compile(r"(?<=[Bb]earer )[A-Za-z0-9._~+/-]{20,}=*"),
)


def redact(text: str) -> str:
    """The text with a mark in place of whatever has the form of a key, token or password in a URL."""
    for pattern in _PATTERNS:
        text = pattern.sub(MARK, text)
    return text


def redact_struct(value: T) -> T:
    """The struct with every text in it redacted, at any depth, and fit to be stored as UTF-8."""
    changed = {name: redact_plain(getattr(value, name)) for name in value.__struct_fields__}
    return msgspec.structs.replace(value, **changed)


def redact_plain(value: Any) -> Any:
    """The same for lists, dicts by their values, and what is in them."""
    if isinstance(value, str):
        return redact(value.encode("utf-8", "replace").decode())
    if isinstance(value, msgspec.Struct):
        return redact_struct(value)
    if isinstance(value, (tuple, list)):
        return type(value)(redact_plain(item) for item in value)
    if isinstance(value, dict):
        return {name: redact_plain(item) for name, item in value.items()}
    return value
