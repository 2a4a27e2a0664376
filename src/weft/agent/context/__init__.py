"""What the agent knows of a repository before it reads it."""

from weft.agent.context.index import CodeIndex, Hit, Symbol, Use, Uses
from weft.agent.context.languages import language_of
from weft.agent.context.parse import Definition, Import, ParsedFile, Reference, parse_source

__all__ = [
    "CodeIndex",
    "Definition",
    "Hit",
    "Import",
    "ParsedFile",
    "Reference",
    "Symbol",
    "Use",
    "Uses",
    "language_of",
    "parse_source",
]
