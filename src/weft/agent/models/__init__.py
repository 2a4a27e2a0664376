"""Models behind one protocol, opened by URL."""

from weft.agent.models.opening import configured_model, open_model
from weft.agent.models.protocol import (
    CallDelta,
    Delta,
    Message,
    Model,
    Opaque,
    Options,
    ReasoningDelta,
    Reply,
    Stopped,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
    collect,
)

__all__ = [
    "CallDelta",
    "Delta",
    "Message",
    "Model",
    "Opaque",
    "Options",
    "ReasoningDelta",
    "Reply",
    "Stopped",
    "TextDelta",
    "ToolCall",
    "ToolSpec",
    "Usage",
    "collect",
    "configured_model",
    "open_model",
]
