"""YAML that knows where each of its parts stands, so that an error can name file and line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from weft.authz.schema.model import did_you_mean
from weft.cli.inputs import read_text
from weft.core.errors import Invalid

_MAX_PARTS: Final = 100_000
"""Aliases make small files large; no file that people write has as many parts."""
_MAX_DEPTH: Final = 64
_TAG: Final = "tag:yaml.org,2002:"


class Part:
    """A part of a YAML file: a mapping, a list or a scalar."""

    def __init__(self, node: yaml.Node, file: Path) -> None:
        self._node = node
        self.file = file
        self.line: int = node.start_mark.line + 1

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def missing(self) -> bool:
        """Whether nothing stands behind the key."""
        return bool(self._node.tag == f"{_TAG}null")

    def error(self, message: str, hint: str = "") -> Invalid:
        """What is wrong with this part."""
        return Invalid(f"{self.place}: {message}", hint=hint)

    def mapping(self, what: str, known: tuple[str, ...] = ()) -> dict[str, Part]:
        """The entries of a mapping, none for nothing. `known` keys are the only ones, where there are any."""
        if self.missing:
            return {}
        if not isinstance(self._node, yaml.MappingNode):
            raise self.error(f"{what} is not a mapping", "write `key: value` lines")
        found: dict[str, Part] = {}
        for key_node, value in self._node.value:
            key = Part(key_node, self.file).text(f"a key of {what}")
            if key in found:
                raise Part(key_node, self.file).error(f"`{key}` stands twice in {what}", "keep one of them")
            if known and key not in known:
                message = f"{what} has no `{key}`"
                raise Part(key_node, self.file).error(message, did_you_mean(key, known))
            found[key] = Part(value, self.file)
        return found

    def items(self, what: str) -> list[Part]:
        """The items of a list, none for nothing."""
        if self.missing:
            return []
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.error(f"{what} is not a list", "write each item on a line that begins with `- `")
        return [Part(item, self.file) for item in self._node.value]

    def text(self, what: str) -> str:
        """A scalar as it is written, whatever YAML takes it for."""
        if not isinstance(self._node, yaml.ScalarNode) or self.missing:
            raise self.error(f"{what} is not a text", "write it in quotes")
        return str(self._node.value)

    def boolean(self, what: str) -> bool:
        if self._node.tag != f"{_TAG}bool":
            raise self.error(f"{what} is neither true nor false", "write `true` or `false`")
        return bool(self.plain())

    def text_lines(self, what: str) -> Iterator[tuple[str, str]]:
        """The lines of a text that are not empty, each after its place."""
        literal = isinstance(self._node, yaml.ScalarNode) and self._node.style == "|"
        for offset, line in enumerate(self.text(what).split("\n"), 1):
            if line.strip():
                yield (f"{self.file}:{self.line + offset}" if literal else self.place), line.strip()

    def text_in_place(self, what: str) -> str:
        """The text behind as many empty lines as stand above it, so that lines are counted as in the file."""
        text = self.text(what)
        literal = isinstance(self._node, yaml.ScalarNode) and self._node.style == "|"
        return "\n" * (self.line if literal else self.line - 1) + text

    def plain(self) -> Any:
        """The part as plain data. Times stay texts, as JSON has none."""
        return _Plain(self).value(self._node, 0)


class _Plain:
    def __init__(self, part: Part) -> None:
        self._part = part
        self._parts = 0

    def value(self, node: yaml.Node, depth: int) -> Any:
        self._parts += 1
        if depth > _MAX_DEPTH or self._parts > _MAX_PARTS:
            raise self._part.error("the value is too large or nested too deeply", "make it smaller")
        if isinstance(node, yaml.MappingNode):
            entries = Part(node, self._part.file).mapping("a value").items()
            return {key: self.value(part._node, depth + 1) for key, part in entries}
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        kind = node.tag.removeprefix(_TAG)
        if kind in ("str", "timestamp"):
            return node.value
        if kind not in ("null", "bool", "int", "float"):
            raise Part(node, self._part.file).error(
                f"`{node.tag}` is not JSON", "write text, numbers or lists"
            )
        try:
            return yaml.SafeLoader("").construct_object(node)
        except ValueError as error:
            message = f"`{node.value[:40]}` is not a number"
            raise Part(node, self._part.file).error(message, "write it in quotes") from error


def load_yaml(file: Path) -> Part:
    """The whole file, which is one YAML document; JSON is YAML, too."""
    text = read_text(file)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = " ".join(str(error.problem).split())
        raise Invalid(f"{file}:{line}: not YAML: {problem}", hint="correct it at that place") from error
    except (yaml.YAMLError, RecursionError) as error:
        problem = " ".join(str(error).split())[:200]
        raise Invalid(f"{file}: not YAML: {problem}", hint="save it as plain UTF-8 text") from error
    if node is None:
        raise Invalid(f"{file}: the file is empty", hint="write a schema and assertions into it")
    return Part(node, file)
