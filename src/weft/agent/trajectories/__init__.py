"""Sessions as data to learn from: chats, ATIF documents, edits, and steps with rewards."""

from weft.agent.trajectories.export import FORMATS, Format, export

__all__ = ["FORMATS", "Format", "export"]
