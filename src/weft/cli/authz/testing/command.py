"""`weft authz test`: run test files, and say of each failed assertion what came and why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from weft.cli.authz.testing import openfga_file, spicedb_file
from weft.cli.authz.testing.suite import Case, Outcome, run
from weft.cli.authz.testing.yaml_source import Part, load_yaml
from weft.cli.output import Json, emit, say


def run_files(
    files: Annotated[list[Path], typer.Argument(help="Validation or store files.", show_default=False)],
    json: Json = False,
) -> None:
    """Run the assertions of SpiceDB validation files and OpenFGA store files, each in memory.

    Exits with 1 where an assertion fails. Example: weft authz test examples/authz/*.yaml
    """
    began_s = time.monotonic()
    suites = [(file, read_cases(load_yaml(file))) for file in files]
    passed = failed = 0
    for file, cases in suites:
        outcomes = [outcome for case in cases for outcome in run(case)]
        bad = sum(outcome.fault is not None for outcome in outcomes)
        passed, failed = passed + len(outcomes) - bad, failed + bad
        if not json:
            say(f"{file}: {len(outcomes) - bad} passed" + (f", {bad} failed" if bad else ""))
        for outcome in outcomes:
            _show(outcome, json)
    summary = f"{passed} passed, {failed} failed in {time.monotonic() - began_s:.2f} s"
    emit(json, {"passed": passed, "failed": failed}, summary)
    if failed:
        raise typer.Exit(1)


def read_cases(source: Part) -> list[Case]:
    """The cases of a file in either format, told apart by its keys; `Invalid` for anything else."""
    keys = source.mapping("a test file").keys()
    if keys & {"schema", "schemaFile", "relationships", "assertions", "validation"}:
        return spicedb_file.read_spicedb(source)
    if keys & {"model", "model_file", "tests"}:
        return openfga_file.read_openfga(source)
    raise source.error(
        "neither a SpiceDB validation file nor an OpenFGA store file",
        "write `schema`, `relationships` and `assertions`, or `model`, `tuples` and `tests`",
    )


def _show(outcome: Outcome, json: bool) -> None:
    case, assertion, fault = outcome
    if json:
        fields: dict[str, Any] = {
            "place": assertion.place,
            "test": case,
            "assertion": assertion.text,
            "ok": fault is None,
        }
        emit(True, fields | (fault._asdict() if fault else {}), "")
    elif fault is not None:
        say("\n".join(_report(outcome)))


def _report(outcome: Outcome) -> Iterator[str]:
    case, assertion, fault = outcome
    assert fault is not None
    yield ""
    yield f"FAILED {assertion.place}" + (f" in `{case}`" if case else "")
    yield f"  {assertion.text}"
    yield f"  expected: {fault.expected}"
    yield f"  came:     {fault.came}"
    yield from (f"    {line}" for line in fault.explanation.split("\n") if line)
