"""How answers and errors look on the wire: JSON, and for every error `{"code", "message", "hint"}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from weft.core.errors import Bug, Invalid, NotFound, WeftError
from weft.core.telemetry import logger
from weft.server.status import Unauthenticated, status_of


class Body(BaseModel):
    """A request's body: unknown fields and near misses in type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


def answer(value: Any) -> Response:
    """Structs and plain values as JSON; bytes as base64."""
    return Response(encoded(value), media_type="application/json")


def encoded(value: Any) -> bytes:
    """The value as an answer has it."""
    return msgspec.json.encode(value, enc_hook=_plain)


def refusal(
    error: WeftError, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The error as a response; `status` overrules the table where HTTP has a word of its own."""
    status = status or status_of(error).http
    if status >= 500:
        logger("server").error(error.message, code=error.code)
    challenge = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthenticated) else {}
    return Response(
        encoded(texts_of(error)), status, {**challenge, **(headers or {})}, media_type="application/json"
    )


def texts_of(error: WeftError) -> dict[str, str]:
    """What an error says, as a body has it."""
    texts = {"code": error.code, "message": error.message, "hint": error.hint}
    return {name: text.encode(errors="backslashreplace").decode() for name, text in texts.items()}


def install_refusals(app: FastAPI) -> None:
    """Make every way to fail end in a refusal."""

    @app.exception_handler(WeftError)
    def refuse(_: Request, error: WeftError) -> Response:
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    def refuse_body(_: Request, error: RequestValidationError) -> Response:
        return refusal(_explained(error))

    @app.exception_handler(HTTPException)
    def refuse_request(request: Request, error: HTTPException) -> Response:
        return refusal(_named(request, error), status=error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    def admit_a_bug(_: Request, error: Exception) -> Response:
        return refusal(
            Bug(f"the server failed: {type(error).__name__}", hint="report it with the server's log")
        )


def _explained(error: RequestValidationError) -> Invalid:
    fault = error.errors()[0]
    source, *inner = fault["loc"]
    if fault["type"] == "json_invalid":
        return Invalid(
            f"the body is not JSON: {fault['ctx']['error'].lower()} at character {inner[0]}",
            hint="send a JSON object",
        )
    if not inner:
        return Invalid(
            f"the {source}: {fault['msg'].lower()}",
            hint="send a JSON object, with `content-type: application/json`",
        )
    field = ".".join(map(str, inner))
    return Invalid(
        f"`{field}`: {fault['msg'].lower()}", hint=f"correct it in the {source}; see /openapi.json"
    )


def _named(request: Request, error: HTTPException) -> WeftError:
    if error.status_code == 404:
        return NotFound(f"there is no route `{request.url.path}`", hint="the routes are in /openapi.json")
    if error.status_code == 405:
        return Invalid(f"`{request.url.path}` does not take {request.method}", hint="see /openapi.json")
    return Invalid("the body cannot be read", hint="send a JSON object that is not deeply nested")


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
