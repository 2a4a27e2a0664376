"""Who may do what in a repository: the schema that the history's relation tuples fit."""

from __future__ import annotations

from typing import Final

SCHEMA: Final = """\
definition person {}

definition team {
  relation member: person | team#member
}

definition folder {
  relation parent: folder
  relation maintainer: person | team#member
  permission edit = maintainer + parent->edit
}

definition file {
  relation folder: folder
  relation author: person
  relation barred: person
  permission edit = (author + folder->edit) - barred
  permission view = author + folder->edit
}
"""
"""In SpiceDB's schema language. Maintaining a folder reaches down; being barred from a file wins over all."""
