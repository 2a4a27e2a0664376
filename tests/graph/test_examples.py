"""The examples of real event sets run as their pages say, here with a small bound."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

STATUS = """\
Package: libc6
Status: install ok installed
Section: libs
Installed-Size: 100
Version: 2.36

Package: bash
Status: install ok installed
Section: shells
Installed-Size: 7
Version: 5.2
Pre-Depends: libc6 (>= 2.36), libtinfo6 | ncurses:any
Depends: base-files

Package: gone
Status: deinstall ok config-files
Version: 1
"""
OLD_LOG = (
    "2026-01-01 10:00:00 install bash:amd64 <none> 5.1\n2026-01-01 10:00:00 status installed bash:amd64 5.1\n"
)
LOG = """\
2026-01-02 10:00:00 startup archives unpack
2026-01-02 10:00:01 upgrade bash:amd64 5.1 5.2
2026-01-02 10:00:02 install libc6:amd64 <none> 2.36
2026-01-02 10:00:03 remove bash:amd64 5.2 <none>
"""
CHANGELOG = """\
{} (5.2-1) unstable; urgency=medium

  * Something.

 -- Ann Author <ann@example.org>  Mon, 02 Jan 2023 13:06:21 +0100
"""


def run(name, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples/graph" / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def debian(tmp_path):
    for folder in (
        "var/lib/dpkg",
        "var/log",
        "usr/share/doc/bash",
        "usr/share/doc/libc6",
        "usr/share/doc/odd",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    (tmp_path / "var/log/dpkg.log.1.gz").write_bytes(gzip.compress(OLD_LOG.encode()))
    (tmp_path / "var/log/dpkg.log").write_text(LOG)
    for package in ("bash", "libc6"):
        path = tmp_path / "usr/share/doc" / package / "changelog.Debian.gz"
        path.write_bytes(gzip.compress(CHANGELOG.format(package).encode()))
    (tmp_path / "usr/share/doc/odd/changelog.Debian.gz").write_bytes(gzip.compress(b"see elsewhere\n"))
    return tmp_path


def test_a_debian_machine_and_its_three_answers(debian):
    done = run("debian_log.py", "--root", debian)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "packages: 2 events, 6 updates, 0 dead letters",
        "history: 4 events, 8 updates, 0 dead letters",
        "releases: 2 events, 4 updates, 0 dead letters",
        "what does most of this machine stand on?",
        "    base-files (1)",
        "    libc6 (1)",
        "    libtinfo6 (1)",
        "    ncurses (1)",
        "what changed on the busiest day, 2026-01-02?",
        "    remove bash",
        "    install libc6",
        "    2 packages in all",
        "on how many people does it depend?",
        "    1, one of them for 2 packages",
    ]


def test_reading_again_finds_nothing_new(debian, tmp_path):
    run("debian_log.py", "--root", debian, "--graph", tmp_path / "graph")
    again = run("debian_log.py", "--root", debian, "--graph", tmp_path / "graph")
    assert again.stdout.startswith("packages: 0 events")
    assert again.stdout.endswith("1, one of them for 2 packages\n")


def test_elsewhere_the_debian_example_says_what_it_needs(tmp_path):
    done = run("debian_log.py", "--root", tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"`{tmp_path}` has no package database of Debian: run this on Debian, or name a --root\n"
    )


@pytest.mark.skipif(not Path("/var/lib/dpkg/status").exists(), reason="this machine is no Debian")
def test_this_debian_machine():
    done = run("debian_log.py", "--limit", 50)
    assert done.stderr == ""
    assert "0 dead letters\nhistory" in done.stdout


def test_the_installed_distributions():
    done = run("python_packages.py", "--limit", 12)
    assert done.stderr == ""
    head, *rest = done.stdout.splitlines()
    assert head.startswith("12 distributions, ")
    assert head.endswith(" 0 dead letters")
    assert "which packages do most others need?" in rest
    assert any(line.startswith("    .py (") for line in rest)
