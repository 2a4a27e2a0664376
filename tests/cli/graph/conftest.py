"""`weft graph` in a folder with types, jobs and events."""

from pathlib import Path
from typing import Any

import pytest

TYPES = """\
[node.account]
properties = { name = "str", age = "int" }

[node.title]
unknown = "keep"

[edge.watched]
source = "account"
target = "title"
properties = { device = "str" }
"""
APART = """\
[node.account]
properties = { name = "str", age = "int" }
groups = { life = ["age"] }

[node.title]
unknown = "keep"

[edge.watched]
source = "account"
target = "title"
properties = { device = "str" }
split = true
newest = true
cap = 1
"""
JOBS = """\
from weft.graph import Edge, Node, job

@job
def plays(event):
    play = event.value
    yield Node("account", play["account"], {"name": play["account"].title()})
    yield Node("title", play["title"], {"year": play.get("year")})
    yield Edge("watched", play["account"], play["title"], {"device": play["device"]})
"""
PLAYS = """\
{"at": "2026-01-01T10:00:00Z", "account": "ann", "title": "Dune", "device": "tv", "year": 2021}
{"at": "2026-01-01T11:00:00Z", "account": "bob", "title": "Dune", "device": "phone"}
{"at": "2026-01-01T12:00:00Z", "account": "cid", "title": "Heat"}
{"at": "2026-01-01T12:00:00Z", "account": "bob", "title": "Alien\\u001b[2J", "device": "tv"}
"""


@pytest.fixture
def noun() -> str:
    return "graph"


@pytest.fixture
def files(weft: Any, tmp_path: Path) -> Any:
    """The same `weft`, beside `types.toml`, `apart.toml`, `jobs.py`, `fixed.py`, `several.py` and
    `plays.ndjson`."""
    (tmp_path / "types.toml").write_text(TYPES)
    (tmp_path / "apart.toml").write_text(APART)
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "fixed.py").write_text(JOBS.replace('play["device"]', 'play.get("device")'))
    (tmp_path / "several.py").write_text(JOBS + '\nother = job("other")(lambda event: None)\n')
    (tmp_path / "plays.ndjson").write_text(PLAYS)
    return weft


@pytest.fixture
def graph(files: Any) -> Any:
    """The same, with the plays ingested."""
    assert files("init types.toml").code == 0
    assert files("ingest jobs.py plays.ndjson --time at").code == 0
    return files
