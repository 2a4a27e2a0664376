"""What each runner prints when tests fail, as it printed it, and what is read out of that."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.tools.reports import Failure, parse, summarise

PYTEST = """..F                                                                      [100%]
=================================== FAILURES ===================================
E       assert 1 == 2

tests/test_a.py:7: AssertionError
=========================== short test summary info ============================
FAILED tests/test_a.py::test_x[1 2] - assert 1 == 2
ERROR tests/test_b.py
1 failed, 2 passed, 1 error in 0.12s
"""

UNITTEST = """FE.F
======================================================================
ERROR: test_err (test_a.T.test_err)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "/w/test_a.py", line 7, in test_err
    {}["k"]
    ~~^^^^^
KeyError: 'k'

======================================================================
FAIL: test_bad (test_a.T.test_bad)
A doc line
----------------------------------------------------------------------
Traceback (most recent call last):
  File "/w/test_a.py", line 5, in test_bad
    self.assertEqual(1, 2, "numbers")
AssertionError: 1 != 2 : numbers

======================================================================
FAIL: test_sub (test_a.T.test_sub) (i=1)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "/w/test_a.py", line 11, in test_sub
    self.assertEqual(i, 0)
AssertionError: 1 != 0

----------------------------------------------------------------------
Ran 4 tests in 0.001s

FAILED (failures=2, errors=1)
"""

GO = """--- FAIL: TestMean (0.00s)
    --- FAIL: TestMean/sub_case (0.00s)
        a_test.go:6: got 3,
            want 2
--- FAIL: TestPanic (0.00s)
panic: assignment to entry in nil map [recovered, repanicked]

goroutine 4 [running]:
FAIL\texample.org/m\t0.006s
ok  \texample.org/n\t(cached)
FAIL
"""

GO_BUILD = """# example.org/m
./a.go:5:2: undefined: nosuch
FAIL\texample.org/m [build failed]
FAIL
"""

CARGO = """   Compiling m v0.1.0 (/w)
warning: unused variable: `x`
 --> src/lib.rs:1:28
     Running unittests src/lib.rs (target/debug/deps/m-81c9f5d764ef8bf2)

running 3 tests
test tests::good ... ok
test tests::other ... FAILED
test tests::bad ... FAILED

failures:

---- tests::other stdout ----

thread 'tests::other' (28952) panicked at src/lib.rs:9:30:
called `Option::unwrap()` on a `None` value
stack backtrace:
   0: __rustc::rust_begin_unwind

---- tests::bad stdout ----

thread 'tests::bad' panicked at src/lib.rs:5:16:
assertion `left == right` failed: why not
  left: 3
 right: 2
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace


failures:
    tests::bad
    tests::other

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
"""

CARGO_BUILD = """error[E0425]: cannot find value `y` in this scope
 --> src/lib.rs:1:24
  |
error: could not compile `m` (lib test) due to 1 previous error
"""

JEST = """FAIL src/sum.test.js
  sums
    \u2713 adds (2 ms)
    \u2715 takes away (3 ms)

  \u25cf sums \u203a takes away

    expect(received).toBe(expected) // Object.is equality

    Expected: 1
    Received: 2

      at Object.<anonymous> (src/sum.test.js:9:20)

Test Suites: 1 failed, 1 total
Tests:       1 failed, 1 passed, 2 total
"""

VITEST = """ \u276f src/sum.test.ts (2 tests | 1 failed) 4ms

\u23af\u23af\u23af\u23af\u23af\u23af\u23af Failed Tests 1 \u23af\u23af\u23af\u23af\u23af\u23af\u23af

 FAIL  src/sum.test.ts > sums > takes away
AssertionError: expected 2 to be 1 // Object.is equality
 \u276f src/sum.test.ts:9:20

\u23af\u23af\u23af\u23af\u23af\u23af\u23af\u23af\u23af\u23af\u23af[1/1]\u23af

 Test Files  1 failed (1)
      Tests  1 failed | 1 passed (2)
"""

MAVEN = """[ERROR] Tests run: 3, Failures: 1, Errors: 1, Skipped: 0, Time elapsed: 0.04 s -- in CalcTest
[INFO] Results:
[ERROR] Failures:
[ERROR]   CalcTest.testMean:12 expected: <2> but was: <3>
[ERROR] Errors:
[ERROR]   CalcTest.testNull:17 \u00bb NullPointer
[ERROR] Tests run: 3, Failures: 1, Errors: 1, Skipped: 0
[ERROR] BUILD FAILURE
"""

GRADLE = """> Task :test FAILED

CalcTest > testMean() FAILED
    org.opentest4j.AssertionFailedError: expected: <2> but was: <3> at CalcTest.java:12

3 tests completed, 1 failed, 1 skipped
"""

GTEST = """[==========] Running 2 tests from 1 test suite.
[ RUN      ] Calc.Good
[       OK ] Calc.Good (0 ms)
[ RUN      ] Calc.Mean
calc_test.cc:12: Failure
Expected equality of these values:
  mean(v)
    Which is: 3
  2

[  FAILED  ] Calc.Mean (0 ms)
[==========] 2 tests from 1 test suite ran. (0 ms total)
[  PASSED  ] 1 test.
[  FAILED  ] 1 test, listed below:
[  FAILED  ] Calc.Mean
"""

CTEST = """67% tests passed, 1 tests failed out of 3

The following tests FAILED:
\t  3 - parses_empty (SEGFAULT)
Errors while running CTest
"""

CASES = [
    (
        PYTEST,
        "pytest",
        {"failed": 1, "passed": 2, "error": 1},
        [
            Failure("tests/test_a.py::test_x[1 2]", "assert 1 == 2", "tests/test_a.py:7"),
            Failure("tests/test_b.py"),
        ],
    ),
    (
        UNITTEST,
        "unittest",
        {"failed": 2, "error": 1, "passed": 1},
        [
            Failure("test_a.T.test_err", "KeyError: 'k'", "/w/test_a.py:7"),
            Failure("test_a.T.test_bad", "AssertionError: 1 != 2 : numbers", "/w/test_a.py:5"),
            Failure("test_a.T.test_sub (i=1)", "AssertionError: 1 != 0", "/w/test_a.py:11"),
        ],
    ),
    (
        GO,
        "go test",
        {"failed": 2, "packages failed": 1, "packages passed": 1},
        [
            Failure("TestMean/sub_case", "got 3, want 2", "a_test.go:6"),
            Failure("TestPanic", "panic: assignment to entry in nil map [recovered, repanicked]"),
        ],
    ),
    (
        GO_BUILD,
        "go test",
        {"failed": 1, "packages failed": 1},
        [Failure("build", "undefined: nosuch", "./a.go:5")],
    ),
    (
        CARGO,
        "cargo test",
        {"passed": 1, "failed": 2},
        [
            Failure("tests::other", "called `Option::unwrap()` on a `None` value", "src/lib.rs:9"),
            Failure(
                "tests::bad", "assertion `left == right` failed: why not left: 3 right: 2", "src/lib.rs:5"
            ),
        ],
    ),
    (
        CARGO_BUILD,
        "cargo test",
        {"error": 1},
        [Failure("build", "cannot find value `y` in this scope", "src/lib.rs:1")],
    ),
    (
        JEST,
        "jest",
        {"failed": 1, "passed": 1},
        [
            Failure(
                "sums \u203a takes away",
                "expect(received).toBe(expected) // Object.is equality",
                "src/sum.test.js:9",
            )
        ],
    ),
    (
        VITEST,
        "vitest",
        {"failed": 1, "passed": 1},
        [
            Failure(
                "src/sum.test.ts > sums > takes away",
                "AssertionError: expected 2 to be 1 // Object.is equality",
                "src/sum.test.ts:9",
            )
        ],
    ),
    (
        MAVEN,
        "maven",
        {"passed": 1, "failed": 1, "error": 1},
        [
            Failure("CalcTest.testMean", "expected: <2> but was: <3>", "CalcTest.java:12"),
            Failure("CalcTest.testNull", "\u00bb NullPointer", "CalcTest.java:17"),
        ],
    ),
    (
        GRADLE,
        "gradle",
        {"passed": 1, "failed": 1, "skipped": 1},
        [
            Failure(
                "CalcTest > testMean",
                "org.opentest4j.AssertionFailedError: expected: <2> but was: <3>",
                "CalcTest.java:12",
            )
        ],
    ),
    (
        GTEST,
        "gtest",
        {"passed": 1, "failed": 1},
        [Failure("Calc.Mean", "Expected equality of these values: mean(v) Which is: 3 2", "calc_test.cc:12")],
    ),
    (CTEST, "ctest", {"passed": 2, "failed": 1}, [Failure("parses_empty", "SEGFAULT")]),
]


@pytest.mark.parametrize(("output", "runner", "counts", "failures"), CASES, ids=lambda c: str(c)[:8])
def test_the_failures_of_a_runner_are_read(
    output: str, runner: str, counts: dict[str, int], failures: list[Failure]
) -> None:
    report = parse(f"\x1b[31mnoise\x1b[0m\n{output}")
    assert report is not None
    assert (report.runner, report.counts, list(report.failures)) == (runner, counts, failures)


def test_real_runs_of_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "test_real.py").write_text(
        "import unittest\n\n\nclass T(unittest.TestCase):\n"
        "    def test_no(self):\n        self.assertEqual(1, 2)\n"
    )
    for command, test in (
        (["unittest"], "test_real.T.test_no"),
        (["pytest", "-q", "-p", "no:cacheprovider"], "test_real.py::T::test_no"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        report = parse(done.stdout)
        assert report is not None
        assert report.counts == {"failed": 1}
        assert [(f.test, f.place.rpartition("/")[2]) for f in report.failures] == [(test, "test_real.py:6")]


def test_the_verdict_comes_first_and_a_pass_is_one_line() -> None:
    summary = summarise(PYTEST, 1)
    assert summary.startswith(
        "1 error, 1 failed, 2 passed\n- tests/test_a.py::test_x[1 2] (tests/test_a.py:7): assert 1 == 2\n"
    )
    assert summarise("=== 3 passed in 1.0s ===", 0) == "3 passed"
    assert parse("make: *** [test] Error 1") is None
    assert summarise("make: *** [test] Error 1", 2) == "make: *** [test] Error 1"
    assert summarise("no tests ran in 0.1s", 5).startswith("no tests ran")


@given(st.lists(st.sampled_from([line for case in CASES for line in case[0].splitlines()]), max_size=40))
def test_no_mixture_of_reports_breaks_the_reading(lines: list[str]) -> None:
    text = "\n".join(lines)
    report = parse(text)
    assert report is None or all(count > 0 or report.runner == "pytest" for count in report.counts.values())
    assert isinstance(summarise(text, 1), str)


@pytest.mark.parametrize(
    "line",
    [
        "FAIL: a (b)\n" + "-" * 70,
        "--- FAIL: T (0.00s)",
        "  \u25cf a",
        " FAIL  a > b",
        "[ RUN      ] A.B",
        "---- a stdout ----\n\nthread 'a' panicked at b.rs:1:2:\nx",
        "1 passed, ",
        "\n",
    ],
)
def test_output_that_is_made_to_cost_time_costs_little(line: str) -> None:
    began = time.process_time()
    tails = ["Ran 1 test in 1s\n\nOK", "FAIL\ta\t0.1s", "Tests: 1 failed", "[==========] 1 test from"]
    for tail in tails:
        summarise((line + "\n") * (1_000_000 // len(line)) + tail, 1)
    assert time.process_time() - began < 20
