"""Sandboxes: run commands on a throw-away copy of a workspace, with no way out."""

from weft.agent.sandbox.changes import Change
from weft.agent.sandbox.jobs import Job, Output
from weft.agent.sandbox.provider import (
    DEFAULT_LIMITS,
    Denial,
    Entry,
    Limits,
    Promise,
    Result,
    Sandbox,
    SandboxFailed,
    SandboxProvider,
)

__all__ = [
    "DEFAULT_LIMITS",
    "Change",
    "Denial",
    "Entry",
    "Job",
    "Limits",
    "Output",
    "Promise",
    "Result",
    "Sandbox",
    "SandboxFailed",
    "SandboxProvider",
]
