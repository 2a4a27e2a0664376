"""The front doors are light: they import what they define and nothing heavy."""

import statistics
import subprocess
import sys

HEAVY = ("pydantic", "structlog", "prometheus_client", "typer", "rich", "opentelemetry", "tree_sitter")


def test_importing_the_package_costs_under_50_ms() -> None:
    probe = "import time; t = time.perf_counter(); import weft; print(time.perf_counter() - t)"
    costs_s = [
        float(subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True).stdout)
        for _ in range(5)
    ]
    assert statistics.median(costs_s) < 0.05


def test_no_library_loads_what_only_the_faces_need() -> None:
    probe = "import sys, weft.authz, weft.graph, weft.agent, weft.kv; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not set(HEAVY) & set(loaded)
