"""How the common test runners report: one function for each, from its output to a report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec


class Failure(msgspec.Struct, frozen=True):
    """A test that failed: its name as its runner takes it, what it says, and `file:line` if that is known."""

    test: str
    message: str = ""
    place: str = ""


class TestReport(msgspec.Struct, frozen=True):
    """One run. `counts` are by outcome: passed, failed, error, skipped ..."""

    runner: str
    counts: dict[str, int]
    failures: tuple[Failure, ...]


_M: Final = re.MULTILINE
_MAX_MESSAGE_CHARS: Final = 300

_PYTEST_VERDICT: Final = re.compile(r"^=* ?((?:\d+ \w+(?:, )?)+(?: in [\d.]+s.*?)?|no tests ran.*?) ?=*$", _M)
_PYTEST_COUNT: Final = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|deselected)")
_PYTEST_FAILURE: Final = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - (.*))?$", _M)
_PYTEST_PLACE: Final = re.compile(r"^(\S+?\.py:\d+): \w", _M)


def pytest(text: str) -> TestReport | None:
    verdicts = [
        m[1] for m in _PYTEST_VERDICT.finditer(text) if _PYTEST_COUNT.search(m[1]) or "no tests" in m[1]
    ]
    if not verdicts:
        return None
    counts = {
        "error" if name == "errors" else name: int(n) for n, name in _PYTEST_COUNT.findall(verdicts[-1])
    }
    places = [m[1] for m in _PYTEST_PLACE.finditer(text)]
    failures = []
    for m in _PYTEST_FAILURE.finditer(text):
        # Tracebacks come in the order of the failures; one per failure is the last line of it.
        own = [place for place in places if place.partition(":")[0] == m[1].partition("::")[0]]
        place = own[0] if own else ""
        if place:
            places.remove(place)
        failures.append(Failure(m[1], m[2] or "", place))
    return TestReport("pytest", counts, tuple(failures))


_UNITTEST_RAN: Final = re.compile(
    r"^Ran (\d+) tests? in [\d.]+s\n\n(OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$", _M
)
_UNITTEST_BLOCK: Final = re.compile(
    r"^(FAIL|ERROR): (\S+) \((\S+)\)(.*)\n(?:[^\n]+\n)?-{70}\n((?:.*\n){0,300}?)(?=={70}$|-{70}$)", _M
)
_PYTHON_PLACE: Final = re.compile(r'File "([^"]+)", line (\d+)')


def unittest(text: str) -> TestReport | None:
    verdict = list(_UNITTEST_RAN.finditer(text))
    if not verdict:
        return None
    told = {name: int(n) for name, n in re.findall(r"([a-z]+)=(\d+)", verdict[-1][3] or "")}
    counts = {
        "failed": told.get("failures", 0),
        "error": told.get("errors", 0),
        "skipped": told.get("skipped", 0),
    }
    counts["passed"] = max(0, int(verdict[-1][1]) - sum(counts.values()))
    failures = []
    for m in _UNITTEST_BLOCK.finditer(text):
        places = _PYTHON_PLACE.findall(m[5])
        lines = [line for line in m[5].splitlines() if line.strip()]
        name = m[3] if m[3].endswith(m[2]) else f"{m[3]}.{m[2]}"
        place = f"{places[-1][0]}:{places[-1][1]}" if places else ""
        failures.append(Failure(name + m[4], _short(lines[-1:]), place))
    return TestReport("unittest", _some(counts), tuple(failures))


_GO_RESULT: Final = re.compile(
    r"^[ \t]*--- (PASS|FAIL|SKIP): (\S+) \([\d.]+s\)\n((?:(?![ \t]*--- |FAIL|ok\s|PASS$).*\n){0,300})", _M
)
_GO_PACKAGE: Final = re.compile(r"^(ok|FAIL)\s+(\S+)\s+(?:[\d.]+s|\(cached\)|\[(build|setup) failed\])", _M)
_GO_PLACE: Final = re.compile(r"^\s*(\S+\.go:\d+):\s?(.*)")
_GO_BUILD: Final = re.compile(r"^(\S+\.go:\d+):\d+: (.*)$", _M)


def go(text: str) -> TestReport | None:
    packages = _GO_PACKAGE.findall(text)
    if not packages:
        return None
    results = list(_GO_RESULT.finditer(text))
    parents = {m[2].rpartition("/")[0] for m in results}
    failures = []
    for m in results:
        if m[1] == "FAIL" and m[2] not in parents:
            lines = m[3].splitlines()
            places = [found for line in lines if (found := _GO_PLACE.match(line))]
            said = [places[0][2], *lines[1:]] if places else lines[:1]
            failures.append(Failure(m[2], _short(said), places[0][1] if places else ""))
    if any(reason for _, _, reason in packages):
        failures += [Failure("build", m[2], m[1]) for m in _GO_BUILD.finditer(text)]
    counts = {
        "passed": sum(m[1] == "PASS" for m in results),
        "failed": len(failures),
        "packages passed": sum(verdict == "ok" for verdict, _, _ in packages),
        "packages failed": sum(verdict == "FAIL" for verdict, _, _ in packages),
    }
    return TestReport("go test", _some(counts), tuple(failures))


_CARGO_RESULT: Final = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", _M)
_CARGO_FAILED: Final = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. FAILED$", _M)
_CARGO_DETAIL: Final = re.compile(
    r"^---- (\S+) stdout ----\n\n?thread '[^']*' (?:\(\d+\) )?panicked at ([^\n]+?:\d+):\d+:\n"
    r"((?:(?!stack backtrace|note:|\n).+\n){1,50})",
    _M,
)
_CARGO_BUILD: Final = re.compile(r"^error(?:\[E\d+\])?: (.*)\n\s*--> (\S+?:\d+):\d+", _M)


def cargo(text: str) -> TestReport | None:
    results = _CARGO_RESULT.findall(text)
    build = [Failure("build", m[1], m[2]) for m in _CARGO_BUILD.finditer(text)]
    if not results and not (build and "could not compile" in text):
        return None
    details = {m[1]: m for m in _CARGO_DETAIL.finditer(text)}
    failures = [
        Failure(name, _short(details[name][3].splitlines()), details[name][2])
        if name in details
        else Failure(name)
        for name in _CARGO_FAILED.findall(text)
    ]
    counts = {
        name: sum(int(result[at]) for result in results)
        for at, name in enumerate(("passed", "failed", "skipped"))
    }
    return TestReport("cargo test", _some(counts | {"error": len(build)}), (*build, *failures))


_JEST_COUNTS: Final = re.compile(r"^[ \t]*Tests:?[ \t]+((?:\d+ [a-z]+[,| ]*)+)(?:total|\(\d+\))?", _M)
_JEST_FAILURE: Final = re.compile(r"^[ \t]*● (?!Console)(.+ › .+|\S.*)\n\n?((?:(?![ \t]*● ).*\n){0,300})", _M)
_VITEST_FAILURE: Final = re.compile(r"^ *FAIL +(\S+ > .+)\n((?:(?! *FAIL | ⎯).*\n){0,300})", _M)
_SCRIPT_PLACE: Final = re.compile(r"([\w./@-]+\.[cm]?[jt]sx?:\d+)(?::\d+)?")


def jest(text: str) -> TestReport | None:
    """Of jest and of vitest, whose last lines are alike."""
    verdicts = _JEST_COUNTS.findall(text)
    if not verdicts:
        return None
    counts = {name: int(n) for n, name in re.findall(r"(\d+) (passed|failed|skipped|todo)", verdicts[-1])}
    vitest = [*_VITEST_FAILURE.finditer(text)]
    failures: dict[str, Failure] = {}
    for m in vitest or _JEST_FAILURE.finditer(text):
        lines = [line.strip() for line in m[2].splitlines() if line.strip()]
        places = [p for p in _SCRIPT_PLACE.findall(m[2]) if "node_modules" not in p]
        failures.setdefault(
            m[1].strip(), Failure(m[1].strip(), _short(lines[:1]), places[0] if places else "")
        )
    return TestReport("vitest" if vitest else "jest", counts, tuple(failures.values()))


_MAVEN_COUNTS: Final = re.compile(
    r"Tests run: (\d+), Failures: (\d+), Errors: (\d+), Skipped: (\d+)(?!.*(?:Time elapsed|-- in))"
)
_MAVEN_FAILURE: Final = re.compile(r"^\[ERROR\] {3}([\w$.]+?)(?:»|:(\d+)) *(.*)$", _M)
_MAVEN_BUILD: Final = re.compile(r"^\[ERROR\] (\S+\.java):\[(\d+),\d+\] (.*)$", _M)
_GRADLE_COUNTS: Final = re.compile(r"^(\d+) tests? completed, (\d+) failed(?:, (\d+) skipped)?", _M)
_GRADLE_FAILURE: Final = re.compile(r"^(\S+ > .+?)\(?\)? FAILED\n\s+(.*?)(?: at (\S+:\d+))?$", _M)


def junit(text: str) -> TestReport | None:
    """Of maven's surefire and of gradle."""
    counts = _MAVEN_COUNTS.findall(text)
    build = {m[0]: Failure("build", m[3], f"{m[1]}:{m[2]}") for m in _MAVEN_BUILD.finditer(text)}
    if counts or build:
        run, failed, errors, skipped = map(int, counts[-1]) if counts else (0, 0, 0, 0)
        told = {"passed": run - failed - errors - skipped, "failed": failed, "error": errors + len(build)}
        failures = {
            m[0]: Failure(m[1], m[3], f"{m[1].split('.')[0]}.java:{m[2]}" if m[2] else "")
            for m in _MAVEN_FAILURE.finditer(text)
        }
        found = (*build.values(), *failures.values())
        return TestReport("maven", _some(told | {"skipped": skipped}), found)
    gradle = _GRADLE_COUNTS.search(text)
    if not gradle:
        return None
    run, failed, skipped = (int(gradle[n] or 0) for n in (1, 2, 3))
    failures = {m[1]: Failure(m[1], m[2], m[3] or "") for m in _GRADLE_FAILURE.finditer(text)}
    told = {"passed": run - failed - skipped, "failed": failed, "skipped": skipped}
    return TestReport("gradle", _some(told), tuple(failures.values()))


_GTEST_RAN: Final = re.compile(r"^\[==========\] \d+ tests? from", _M)
_GTEST_PASSED: Final = re.compile(r"^\[  PASSED  \] (\d+) tests?", _M)
_GTEST_BODY: Final = re.compile(
    r"^\[ RUN      \] (\S+)\n((?:(?!\[ RUN |\[       OK).*\n){0,300}?)\[  FAILED  \] \1", _M
)
_CPP_PLACE: Final = re.compile(r"^(\S+?:\d+): Failure\n((?:.+\n){0,4})", _M)


def gtest(text: str) -> TestReport | None:
    if not _GTEST_RAN.search(text):
        return None
    failures = []
    for m in _GTEST_BODY.finditer(text):
        place = _CPP_PLACE.search(m[2])
        said = place[2].splitlines() if place else m[2].splitlines()[:3]
        failures.append(Failure(m[1], _short(said), place[1] if place else ""))
    passed = sum(map(int, _GTEST_PASSED.findall(text)))
    return TestReport("gtest", _some({"passed": passed, "failed": len(failures)}), tuple(failures))


_CTEST_COUNTS: Final = re.compile(r"^\d+% tests passed, (\d+) tests failed out of (\d+)", _M)
_CTEST_FAILURE: Final = re.compile(r"^[ \t]+\d+ - (\S+) \((.+)\)", _M)


def ctest(text: str) -> TestReport | None:
    counts = _CTEST_COUNTS.search(text)
    if not counts:
        return None
    failed, run = int(counts[1]), int(counts[2])
    _, _, listed = text.partition("The following tests FAILED:")
    failures = [Failure(m[1], m[2]) for m in _CTEST_FAILURE.finditer(listed)]
    inner = gtest(text)
    return TestReport(
        "ctest",
        _some({"passed": run - failed, "failed": failed}),
        (*failures, *(inner.failures if inner else ())),
    )


PARSERS: Final[tuple[Callable[[str], TestReport | None], ...]] = (
    cargo,
    go,
    ctest,
    gtest,
    junit,
    jest,
    unittest,
    pytest,
)
"""The most telling first: pytest's last line is plain enough to stand in others' output."""


def _some(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def _short(lines: Iterable[str]) -> str:
    text = " ".join(_stripped(lines))
    return text if len(text) <= _MAX_MESSAGE_CHARS else text[:_MAX_MESSAGE_CHARS] + " ..."


def _stripped(lines: Iterable[str]) -> Iterator[str]:
    return (line.strip() for line in lines if line.strip())
