"""What a test run says, in short: the verdict, the failures, and what each failure shows."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from weft.agent.tools.output import clipped

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
_VERDICT: Final = re.compile(
    r"^=* ?((?:\d+ \w+(?:, )?)+(?: in [\d.]+s.*?)?|no tests ran.*?) ?=*$", re.MULTILINE
)
_COUNT: Final = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|deselected)")
_FAILURE: Final = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - (.*))?$", re.MULTILINE)
_DETAIL_CHARS: Final = 8_000


class TestReport(msgspec.Struct, frozen=True):
    """A pytest run. `failures` are (test id, message)."""

    counts: dict[str, int]
    failures: tuple[tuple[str, str], ...]


def parse_pytest(output: str) -> TestReport | None:
    """The report in pytest's output; None when it is not pytest's."""
    text = _ANSI.sub("", output)
    verdicts = [
        m.group(1) for m in _VERDICT.finditer(text) if _COUNT.search(m.group(1)) or "no tests" in m.group(1)
    ]
    if not verdicts:
        return None
    counts = {
        name.removesuffix("s") if name == "errors" else name: int(n)
        for n, name in _COUNT.findall(verdicts[-1])
    }
    failures = tuple((m.group(1), m.group(2) or "") for m in _FAILURE.finditer(text))
    return TestReport(counts, failures)


def summarise(output: str, exit_code: int) -> str:
    """The verdict first, then the failures, then the output that explains them."""
    report = parse_pytest(output)
    if report is None:
        return clipped(output)
    verdict = ", ".join(f"{count} {name}" for name, count in sorted(report.counts.items())) or "no tests ran"
    if exit_code == 0:
        return verdict
    rows = [f"- {test}: {message}" if message else f"- {test}" for test, message in report.failures]
    return "\n".join([verdict, *rows, clipped(_ANSI.sub("", output), _DETAIL_CHARS)])
