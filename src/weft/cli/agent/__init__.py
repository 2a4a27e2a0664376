"""The `weft agent` commands."""
