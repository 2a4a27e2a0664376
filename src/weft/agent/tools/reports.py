"""What a test run says, in short: the verdict, the failures, and what each failure shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from weft.agent.tools.output import clipped
from weft.agent.tools.runners import PARSERS, Failure, TestReport
from weft.core.limits import MAX_TOOL_OUTPUT_CHARS

__all__ = ["Failure", "TestReport", "parse", "summarise"]

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
# Verdicts and failures come last, and what is printed is not to be trusted with our time.
_READ_CHARS: Final = 1 << 18
_DETAIL_CHARS: Final = 8_000
_MAX_FAILURES: Final = 100


def parse(output: str) -> TestReport | None:
    """The report of whichever runner wrote the output, the last where there are several; None for none."""
    text = _ANSI.sub("", output)[-_READ_CHARS:]
    return next((report for read in PARSERS if (report := read(text))), None)


def summarise(output: str, exit_code: int, cut: Callable[[str, int], str] = clipped) -> str:
    """The verdict first, then the failures, then the output that explains them, cut where it is long."""
    report = parse(output)
    if report is None:
        return cut(output, MAX_TOOL_OUTPUT_CHARS)
    verdict = ", ".join(f"{count} {name}" for name, count in sorted(report.counts.items())) or "no tests ran"
    if exit_code == 0:
        return verdict
    rows = [_row(failure) for failure in report.failures[:_MAX_FAILURES]]
    if len(report.failures) > len(rows):
        rows.append(f"[{len(report.failures) - len(rows):,} more failures]")
    return "\n".join([verdict, *rows, cut(_ANSI.sub("", output), _DETAIL_CHARS)])


def _row(failure: Failure) -> str:
    place = f" ({failure.place})" if failure.place else ""
    return f"- {failure.test}{place}: {failure.message}" if failure.message else f"- {failure.test}{place}"
