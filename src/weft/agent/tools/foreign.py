"""Tools from outside, which may break in any way."""

from __future__ import annotations

from typing import Any, cast

from weft.agent.tools.protocol import Observation, Tool, ToolContext
from weft.core.errors import WeftError
from weft.core.telemetry import logger


def foreign(tool: Tool) -> Tool:
    """The tool, whose own mistakes become observations: a session that ended with one would meet it again
    when it is resumed."""
    return cast(Tool, _Foreign(tool))


class _Foreign:
    def __init__(self, tool: Tool) -> None:
        self._tool = tool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tool, name)

    def run(self, arguments: Any, context: ToolContext) -> Observation:
        try:
            return self._tool.run(arguments, context)
        except WeftError:
            raise
        except Exception as error:
            logger("agent").exception("a tool failed", tool=self._tool.name)
            return Observation(f"the tool failed by itself: {type(error).__name__}: {error}", ok=False)
