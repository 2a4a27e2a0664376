"""A Debian machine as a graph: its packages, what they depend on, who changed them, and what happened when.

Run it on Debian or a relative of it: `python examples/graph/debian_log.py`. It only reads.
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from weft.graph import Dedup, Edge, EdgeType, Event, Graph, Job, Node, NodeType
from weft.graph.ingest.sources import IterSource

TYPES = [
    NodeType("package", properties={"version": str, "section": str, "kib": int}),
    NodeType("day"),
    NodeType("person"),
    EdgeType("depends", source="package", target="package", properties={"spec": str}),
    EdgeType("changed", source="day", target="package", properties={"action": str, "version": str}),
    EdgeType("released", source="person", target="package", properties={"version": str}),
]
SIGNED = re.compile(r"^ -- (.*?) <.*?>  (.*)$", re.MULTILINE)
HEADING = re.compile(r"^(\S+) \(([^)]+)\) .*;", re.MULTILINE)


def status(root: Path) -> Iterator[dict[str, Any]]:
    """The package database: one event per package, at the time when the database was written."""
    path = root / "var/lib/dpkg/status"
    at = path.stat().st_mtime_ns // 1_000
    for stanza in path.read_text(errors="replace").split("\n\n"):
        fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            yield {"at": at} | fields


def log(root: Path) -> Iterator[dict[str, Any]]:
    """The log: one event per line `DATE TIME ACTION PACKAGE:ARCH FROM TO`, oldest file first."""
    for path in sorted((root / "var/log").glob("dpkg.log*"), key=lambda path: path.stat().st_mtime):
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        for line in text.decode(errors="replace").splitlines():
            date, time, *words = line.split()
            if len(words) == 4 and words[0] in ("install", "upgrade", "remove", "purge"):
                at = datetime.fromisoformat(f"{date}T{time}").astimezone(UTC)
                yield {"at": int(at.timestamp() * 1e6), "day": date, "words": words}


def changelogs(root: Path) -> Iterator[dict[str, Any]]:
    """The changelogs: one event per package, for its newest entry that is signed."""
    for path in sorted((root / "usr/share/doc").glob("*/changelog.Debian.gz")):
        with gzip.open(path, "rt", errors="replace") as file:
            text = file.read(64 << 10)
        heading, signed = HEADING.search(text), SIGNED.search(text)
        if heading and signed:
            yield {"package": path.parent.name, "version": heading[2], "who": signed[1], "date": signed[2]}


def of_status(event: Event) -> Iterator[Node | Edge]:
    package = event.value
    name, size = package["Package"], int(package.get("Installed-Size", 0))
    facts = {"version": package["Version"], "section": package.get("Section", ""), "kib": size}
    yield Node("package", name, facts)
    for group in ", ".join(filter(None, map(package.get, ("Pre-Depends", "Depends")))).split(", "):
        for choice in filter(None, group.split(" | ")):
            other, _, spec = choice.strip().partition(" ")
            yield Edge("depends", name, other.partition(":")[0], {"spec": spec})


def of_log(event: Event) -> Iterator[Node | Edge]:
    action, package, _, version = event.value["words"]
    yield Node("day", event.value["day"])
    facts = {"action": action, "version": version}
    yield Edge("changed", event.value["day"], package.partition(":")[0], facts)


def of_changelog(event: Event) -> Iterator[Node | Edge]:
    at_us = int(parsedate_to_datetime(event.value["date"]).timestamp() * 1e6)
    yield Node("person", event.value["who"], {}, at_us)
    yield Edge(
        "released", event.value["who"], event.value["package"], {"version": event.value["version"]}, at_us
    )


STREAMS = [
    (Job("packages", of_status), status),
    (Job("history", of_log, dedup=Dedup(window_s=3_600)), log),
    (Job("releases", of_changelog), changelogs),
]


def answers(graph: Graph) -> Iterator[tuple[str, list[str]]]:
    """Three questions."""
    needed = graph.start("package").out("depends").count_by(top=5)
    yield "what does most of this machine stand on?", [f"{one.key.id} ({one.count})" for one in needed]
    days = [day.id for day in graph.start("day").nodes()]
    busy = graph.start("day", days).out("changed").in_("changed").count_by(top=1) if days else []
    for day in [one.key.id for one in busy]:
        changed = graph.start("day", day).out("changed").edges()
        first = [f"{edge.properties['action']} {edge.target}" for edge in changed[:4]]
        yield f"what changed on the busiest day, {day}?", [*first, f"{len(changed)} packages in all"]
    people = graph.start("person").out("released").in_("released").count_by()
    at_most = max((one.count for one in people), default=0)
    yield "on how many people does it depend?", [f"{len(people)}, one of them for {at_most} packages"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graph", default="memory:", help="a folder to keep the graph in")
    parser.add_argument("--root", type=Path, default=Path("/"), help="the machine's file system")
    parser.add_argument("--limit", type=int, help="read only so many events of each stream")
    options = parser.parse_args()
    if not (options.root / "var/lib/dpkg/status").exists():
        sys.exit(f"`{options.root}` has no package database of Debian: run this on Debian, or name a --root")
    with Graph.open(options.graph, TYPES) as graph:
        for job, read in STREAMS:
            events = list(read(options.root))[: options.limit]
            source = IterSource(read.__name__, events, time_us=lambda value: value.get("at", 0))
            report = graph.ingest(job, source)
            dead = f"{report.dead_letters} dead letters"
            print(f"{job.name}: {report.events} events, {report.updates} updates, {dead}")
        for question, found in answers(graph):
            print(question, *found, sep="\n    ")


if __name__ == "__main__":
    main()
