"""`weft authz` with a schema in force."""

from pathlib import Path
from typing import Any

import pytest

SCHEMA = """\
caveat in_region(region string, allowed list<string>) { region in allowed }

definition user {}

definition group {
  relation member: user | group#member
}

definition doc {
  relation reader: user | user:* | group#member | user with in_region
  relation banned: user
  permission view = reader - banned
}
"""


@pytest.fixture
def noun() -> str:
    return "authz"


@pytest.fixture
def store(weft: Any, tmp_path: Path) -> Any:
    """The same, with a schema in force in the store of this folder."""
    (tmp_path / "schema.zed").write_text(SCHEMA)
    done = weft("schema write schema.zed")
    assert (done.code, done.err) == (0, "")
    return weft
