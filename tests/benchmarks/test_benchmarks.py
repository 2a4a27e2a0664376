"""Each benchmark runs to its end at a hundredth of its size and reports what it promises; never how fast."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
BENCHES = sorted(FOLDER.glob("bench_*.py"))


PEER = """
import json, sys, urllib.request
address = next(word for word in sys.argv if word.startswith("model.model_kwargs.api_base=")).split("=", 1)[1]
while True:
    body = {"messages": [{"role": "user", "content": "x" * 398}]}
    asked = urllib.request.Request(address + "/chat/completions", json.dumps(body).encode())
    message = json.load(urllib.request.urlopen(asked))["choices"][0]["message"]
    if "COMPLETE_TASK" in message["tool_calls"][0]["function"]["arguments"]:
        break
"""


def run(bench: Path, scale: str, state: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(bench), "--scale", scale, *more],
        env=os.environ | {"TMPDIR": str(state)},
        cwd=state,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.sandbox
@pytest.mark.parametrize("bench", BENCHES, ids=lambda path: path.stem)
def test_a_benchmark_reports_its_figures(bench: Path, tmp_path: Path) -> None:
    done = run(bench, "0.01", tmp_path)

    assert done.returncode == 0, done.stderr
    *table, line = done.stdout.splitlines()
    report = json.loads(line)
    assert report["question"] == table[0].strip()
    assert report["scale"] == 0.01
    assert {"cores", "memory_bytes", "kernel", "python"} <= set(report["machine"])
    assert "commit" in report
    assert datetime.fromisoformat(report["date"]).tzinfo is not None

    values: dict[str, float] = {}
    compared = 0
    for figure in report["figures"]:
        name, value, unit = figure["name"], figure["value"], figure["unit"]
        assert any(name in row for row in table), "the table and the line tell the same"
        assert name not in values
        assert math.isfinite(value)
        assert value > 0
        if "floor" in figure:
            floor = values[figure["floor"]]
            assert figure["times_floor"] == pytest.approx(
                floor / value if unit.endswith("/s") else value / floor
            )
            compared += 1
        values[name] = value
    assert all(note in table for note in report["notes"])
    assert bench.stem != "bench_agent_loop" or "left out" in report["notes"][0]
    assert compared, "a figure without a floor tells little"
    assert not list(tmp_path.iterdir()), "it cleans up behind itself"


@pytest.mark.parametrize("scale", ["0", "-1", "101", "nan", "much"])
def test_a_scale_that_makes_no_sense_gets_one_clear_line(scale: str, tmp_path: Path) -> None:
    done = run(BENCHES[0], scale, tmp_path)

    assert done.returncode == 2
    assert not done.stdout
    assert scale in done.stderr.splitlines()[-1]


@pytest.mark.sandbox
def test_another_agent_is_measured_where_its_environment_is_named(tmp_path: Path) -> None:
    bench, environment, state = FOLDER / "bench_agent_loop.py", tmp_path / "venv", tmp_path / "state"
    (environment / "bin").mkdir(parents=True)
    state.mkdir()
    empty = run(bench, "0.01", state, "--peer-venv", str(environment))
    assert empty.returncode == 1
    assert "has neither mini nor aider" in empty.stderr

    program = environment / "bin" / "mini"
    program.write_text(f"#!{sys.executable}\n{PEER}")
    program.chmod(0o755)
    report = json.loads(run(bench, "0.01", state, "--peer-venv", str(environment)).stdout.splitlines()[-1])
    values = {figure["name"]: figure["value"] for figure in report["figures"]}
    assert 100 < values["mini-swe-agent: first prompt"] < 120
    assert values["mini-swe-agent: waited, p50"] > 0
    assert values["weft: waited, p50"] > 0
    assert not report["notes"]


def test_the_page_names_every_benchmark() -> None:
    page = (FOLDER / "README.md").read_text()
    assert BENCHES
    assert not [bench.name for bench in BENCHES if bench.name not in page]
