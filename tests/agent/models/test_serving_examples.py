"""The shipped start-up files: on loopback, experts in parallel, each with its own way of speculation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[3] / "examples/serving"
METHODS = {"ngram": {"ngram", "NGRAM"}, "suffix": {"suffix"}, "draft": {"draft_model", "STANDALONE"}}
METHODS["eagle"] = {"eagle3", "EAGLE3"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_file_is_what_its_name_says(path: Path) -> None:
    settings = yaml.safe_load(path.read_text())
    engine, kind = path.stem.split("-")
    assert settings["host"] == "127.0.0.1"
    if engine == "vllm":
        assert settings["enable-expert-parallel"] is True
        method = json.loads(settings["speculative-config"])["method"]
    else:
        assert settings["ep-size"] == settings["tp-size"] > 1
        method = settings["speculative-algorithm"]
    assert method in METHODS[kind]
    assert "not run here" in path.read_text()
    assert f"`{path.name}`" in (FOLDER / "README.md").read_text()
