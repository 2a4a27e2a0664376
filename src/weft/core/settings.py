"""Settings: `weft.toml`, overruled by `WEFT_…` variables, overruled by flags; checked before anything opens.

A variable's name is the setting's path: `WEFT_SERVER__PORT` is `port` in `[server]`. `WEFT_MODEL_URL` is
short for `WEFT_AGENT__MODEL`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from weft.core.errors import Invalid

FILE_NAME: Final = "weft.toml"
_PREFIX: Final = "WEFT_"
_SHORT: Final = {"model_url": ("agent", "model")}
_LISTS: Final = (("server", "keys"), ("agent", "auto"))


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LogSettings(_Section):
    """`[log]`: what is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "warning"
    style: Literal["text", "json"] = "text"


class AgentSettings(_Section):
    """`[agent]`: which model works, as a URL like `openai:gpt-5` or `http://host:8000/v1#name`; none means
    the offline script. `prices` are dollars per million tokens by the model's name or a pattern of it: input,
    output, cached input, cache write. `hedge_after_s` sends a stalled request a second time. `auto` are the
    models among which a router chooses, from the weakest to the strongest."""

    model: str | None = None
    auto: tuple[str, ...] = ()
    api_key: SecretStr | None = None
    hedge_after_s: float | None = Field(default=None, gt=0)
    prices: dict[str, tuple[float, ...]] = {}


class ServerSettings(_Section):
    """`[server]`: where `weft serve` listens. Beyond loopback it asks for keys."""

    host: str = "127.0.0.1"
    port: int = Field(default=8420, ge=0, le=65_535)
    keys: tuple[SecretStr, ...] = ()


class Settings(_Section):
    """All settings. `data` is the folder that holds authz, graph and agent data."""

    data: Path = Path(".weft")
    log: LogSettings = LogSettings()
    agent: AgentSettings = AgentSettings()
    server: ServerSettings = ServerSettings()


def load(
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Merge the three sources and check the result; `Invalid` names the source, the setting and the fault.

    `file=None` reads `weft.toml` in the working directory where there is one; a named file must exist.
    `flags` are nested mappings; None values count as not given.
    """
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, values in (
        (str(file or FILE_NAME), _read(file)),
        ("environment", _from_environ(environ)),
        ("flag", flags or {}),
    ):
        for path, value in _leaves(values):
            _place(merged, path, value)
            origins[".".join(path)] = origin
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise _explained(error, origins) from None


def _read(file: Path | None) -> dict[str, Any]:
    path = file or Path(FILE_NAME)
    if file is None and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(
            f"cannot read settings from `{path}`: {error}", hint="name a readable TOML file"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"`{path}` is not TOML: {error}", hint="correct it at that place") from error


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, text in environ.items():
        if name.startswith(_PREFIX):
            short = name.removeprefix(_PREFIX).lower()
            path = _SHORT.get(short) or tuple(short.split("__"))
            _place(nested, path, text.split(",") if path in _LISTS else text)
    return nested


def _leaves(values: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*at, key))
        elif value is not None:
            yield (*at, key), value


def _place(target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for depth, key in enumerate(path[:-1]):
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            raise Invalid(
                f"setting `{'.'.join(path[: depth + 1])}` is given both as a value and as a section"
            )
        target = inner
    target[path[-1]] = value


def _explained(error: ValidationError, origins: Mapping[str, str]) -> Invalid:
    faults = []
    for fault in error.errors(include_input=False, include_url=False):
        name = ".".join(str(part) for part in fault["loc"] if not isinstance(part, int))
        origin = origins.get(name, "settings")
        if fault["type"] == "extra_forbidden":
            faults.append(f"{origin}: `{name}` is no setting")
        else:
            faults.append(f"{origin}: `{name}`: {fault['msg'].lower()}")
    return Invalid("; ".join(faults), hint=f"the settings are {', '.join(_names(Settings))}")


def _names(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _names(inner, f"{prefix}{name}.")
        else:
            yield prefix + name
