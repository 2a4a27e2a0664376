"""The installed Python distributions as a graph: what needs what, and which files each one brought.

Run it with the interpreter whose packages you want to see: `python examples/graph/python_packages.py`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from weft.graph import Edge, EdgeType, Event, Graph, Node, NodeType, job
from weft.graph.ingest.sources import IterSource

TYPES = [
    NodeType("package", properties={"version": str, "summary": str, "files": int}),
    NodeType("file", properties={"bytes": int, "suffix": str}),
    EdgeType("requires", source="package", target="package", properties={"spec": str, "marker": str}),
    EdgeType("installs", source="package", target="file"),
]
REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^]]*\])?\s*([^;]*)(?:;\s*(.*))?")


def normal(name: str) -> str:
    """A name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(limit: int | None = None) -> Iterator[dict[str, Any]]:
    """One event per distribution: what its metadata says, at the time when it was installed."""
    found = sorted(metadata.distributions(), key=lambda one: normal(one.metadata["Name"] or ""))
    for one in found[:limit]:
        if one.metadata["Name"]:
            here = Path(str(one.locate_file("")))
            files = [(str(file), file.size or 0) for file in one.files or ()]
            records = [here / name for name, _ in files if name.endswith(("METADATA", "PKG-INFO"))]
            times = [path.stat().st_mtime_ns // 1_000 for path in records if path.exists()]
            yield {
                "at": max(times, default=0),
                "name": one.metadata["Name"],
                "version": one.version,
                "summary": one.metadata.get("Summary", ""),
                "requires": list(one.requires or ()),
                "files": files,
            }


@job
def packages(event: Event) -> Iterator[Node | Edge]:
    package, name = event.value, normal(event.value["name"])
    facts = {"version": package["version"], "summary": package["summary"], "files": len(package["files"])}
    yield Node("package", name, facts)
    for text in package["requires"]:
        required, spec, marker = REQUIREMENT.fullmatch(text).groups()
        yield Edge("requires", name, normal(required), {"spec": spec.strip(), "marker": marker or ""})
    for path, size in package["files"]:
        yield Node("file", path, {"bytes": size, "suffix": Path(path).suffix})
        yield Edge("installs", name, path)


def answers(graph: Graph) -> Iterator[tuple[str, list[str]]]:
    """Three questions."""
    needed = graph.start("package").out("requires", where={"marker": ""}).count_by(top=5)
    yield "which packages do most others need?", [f"{one.key.id} ({one.count})" for one in needed]
    missing = [node for node in graph.start("package").out("requires").nodes() if node.event_time_us is None]
    yield "what is wished for but not installed?", [node.id for node in missing[:5]]
    kinds = graph.start("package").out("installs").count_by("suffix", top=5)
    yield "what are the installed files?", [f"{one.key or 'no suffix'} ({one.count})" for one in kinds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graph", default="memory:", help="a folder to keep the graph in")
    parser.add_argument("--limit", type=int, help="read only so many distributions")
    options = parser.parse_args()
    events = list(distributions(options.limit))
    with Graph.open(options.graph, TYPES) as graph:
        report = graph.ingest(packages, IterSource("installed", events, time_us=lambda value: value["at"]))
        print(f"{report.events} distributions, {report.updates} updates, {report.dead_letters} dead letters")
        for question, found in answers(graph):
            print(question, *found, sep="\n    ")


if __name__ == "__main__":
    main()
