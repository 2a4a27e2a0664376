"""Permissions, live context and safe execution: what an agent needs before it is let into a real system.

Three libraries, each worth using alone: `weft.authz`, `weft.graph` and `weft.agent`.
Importing this package loads none of them.
"""

__version__ = "0.1.0"
