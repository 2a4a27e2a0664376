"""Errors by remedy: the kind says what the caller can do about it.

    WeftError
     ├─ Invalid        fix the request
     │   └─ MissingExtra   install what the message names
     ├─ NotFound       name something that exists
     ├─ Conflict       read again, then retry the transaction
     ├─ Unavailable    retry later
     ├─ LimitExceeded  ask for less
     ├─ Denied         ask for the right
     ├─ Corrupt        stop, repair
     └─ Bug            report it

Libraries subclass a kind only where a caller would act differently. Messages are lower case, put what the
user wrote in backticks, have no line break, and end with the remedy (`hint`).
"""

from __future__ import annotations

from typing import ClassVar


class WeftError(Exception):
    """Base of every error that weft raises on purpose."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "", **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.fields, self.__dict__.copy())


def _rebuild(
    kind: type[WeftError], message: str, hint: str, fields: dict[str, object], state: dict[str, object]
) -> WeftError:
    error = kind.__new__(kind)
    WeftError.__init__(error, message, hint=hint, **fields)
    error.__dict__.update(state)
    return error


class Invalid(WeftError):
    """The request is malformed; fix it before sending it again."""

    code = "invalid"


class MissingExtra(Invalid):
    """An optional dependency is not installed."""

    code = "missing_extra"

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"`{package}` is not installed", hint=f"install it with: pip install 'weft[{extra}]'", extra=extra
        )


class NotFound(WeftError):
    """What the request names does not exist."""

    code = "not_found"


class Conflict(WeftError):
    """The state changed under the request; read again and retry."""

    code = "conflict"


class Unavailable(WeftError):
    """A resource that the request needs cannot be reached now; retry later."""

    code = "unavailable"


class LimitExceeded(WeftError):
    """The request is well-formed and too large; ask for less."""

    code = "limit_exceeded"


class Denied(WeftError):
    """The caller lacks the right; ask for it."""

    code = "denied"


class Corrupt(WeftError):
    """Stored data is damaged or not ours; stop and repair."""

    code = "corrupt"


class Bug(WeftError):
    """An invariant of weft itself is broken; please report it."""

    code = "bug"
