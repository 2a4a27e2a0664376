"""What a model can do: each tool has a schema, states its accesses, and works in the sandbox."""

from weft.agent.tools.protocol import Observation, Tool, Toolbox, ToolContext, ToolError
from weft.agent.tools.standard import standard_tools

__all__ = ["Observation", "Tool", "ToolContext", "ToolError", "Toolbox", "standard_tools"]
