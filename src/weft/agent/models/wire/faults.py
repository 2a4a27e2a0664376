"""From what a provider says went wrong to an error by remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from weft.agent.models.wire.endpoint import Endpoint
from weft.core.clock import Clock
from weft.core.errors import Denied, Invalid, LimitExceeded, NotFound, Unavailable, WeftError

# Providers report too long a history as an ordinary bad request; this is how they word it.
_TOO_LONG: Final = re.compile(
    r"context[_ ]length|context[_ ]window|context size|maximum context|prompt is too long|too many tokens"
    r"|input is too long|input length|exceeds? the (?:model's )?max(?:imum)?[_ ](?:model[_ ]len|tokens)",
    re.IGNORECASE,
)
_UNPAID: Final = re.compile(r"insufficient_quota|billing|credit balance", re.IGNORECASE)
# Errors inside a stream have a code where a response would have a status.
_STATUS_OF_CODE: Final = {
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def refusal(
    endpoint: Endpoint, status: int, headers: Mapping[str, str], body: bytes, clock: Clock
) -> WeftError:
    """The error of a response that is no stream of events."""
    code, message = said(body)
    if status < 400:
        return Invalid(
            f"`{endpoint.host}` answered with no stream of events: {endpoint.shown(message)}",
            hint="check that the address is that of the API",
        )
    error = _error(endpoint, status, code, message)
    if isinstance(error, Unavailable) and (after_s := retry_after_s(headers, clock)) is not None:
        error.hint = f"try again in {after_s:.0f} s"
        error.fields["retry_after_s"] = after_s
    return error


def reported(endpoint: Endpoint, error: Any) -> WeftError:
    """The error that a provider sends inside a stream."""
    code, message = _of_error(error)
    status = int(code) if code.isdigit() else _STATUS_OF_CODE.get(code, 500)
    return _error(endpoint, status, code, message)


def said(body: bytes) -> tuple[str, str]:
    """The code and the message in the body of an error, in any of the shapes that servers use."""
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return "", body.decode("utf-8", "replace")
    if not isinstance(found, dict):
        return "", str(found)
    return _of_error(found.get("error") or found)


def retry_after_s(headers: Mapping[str, str], clock: Clock) -> float | None:
    """The seconds that `Retry-After` asks for, given as seconds or as a date; None without one."""
    text = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - clock.now_us() / 1e6)
    except (ValueError, TypeError):
        return None


def _of_error(error: Any) -> tuple[str, str]:
    if not isinstance(error, dict):
        return "", str(error)
    code = next((str(error[name]) for name in ("code", "type") if error.get(name)), "")
    message = next((error[name] for name in ("message", "detail") if error.get(name)), error)
    return code, message if isinstance(message, str) else msgspec.json.encode(message).decode()


def _error(endpoint: Endpoint, status: int, code: str, message: str) -> WeftError:
    shown = endpoint.shown(message) or f"status {status}"
    fields: dict[str, Any] = {"status": status, "provider_code": code}
    if status == 413 or (status in (400, 422) and _TOO_LONG.search(f"{code} {message}")):
        return LimitExceeded(
            f"the history is too long for `{endpoint.name}`: {shown}",
            hint="compact it, or start anew",
            **fields,
        )
    if status == 402 or (status in (400, 403, 429) and _UNPAID.search(f"{code} {message}")):
        return Denied(
            f"the account at `{endpoint.host}` cannot pay for this: {shown}",
            hint="check its billing",
            **fields,
        )
    if status in (401, 403):
        return Denied(
            f"`{endpoint.host}` refuses the key: {shown}",
            hint=f"set {endpoint.key_variable} to a key that may use `{endpoint.model}`",
            **fields,
        )
    if status == 404:
        return NotFound(
            f"`{endpoint.host}` has no `{endpoint.model}`: {shown}",
            hint="check the model's name and the address",
            **fields,
        )
    if status in (408, 409, 425, 429) or status >= 500:
        return Unavailable(f"`{endpoint.name}` cannot answer now: {shown}", hint="try again later", **fields)
    return Invalid(f"`{endpoint.name}` does not take this request: {shown}", **fields)
