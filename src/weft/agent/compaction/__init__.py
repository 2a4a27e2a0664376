"""Shorten a session's window by its structure, before or without any model."""

from weft.agent.compaction.window import compact

__all__ = ["compact"]
