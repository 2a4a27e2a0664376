"""How long does one hop take over HTTP?"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from _graph_peers import Weft
from _power_law import power_law
from _report import Report, latencies_s, scale_from_arguments

EDGES: Final = 200_000
QUESTIONS: Final = 1_000


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def get(self, path: str) -> Any:
        return self._answer("GET", path, None)

    def followed(self, start: str) -> list[tuple[str, int, bool]]:
        """Whom one follows, with the properties of the edges."""
        hop = {"step": "hop", "direction": "out", "edge": "follows"}
        query = {"type": "person", "ids": [start], "steps": [hop], "answer": "edges"}
        edges = self._answer("POST", "/v1/graph/traverse", json.dumps(query))["items"]
        return [(edge["target"], edge["properties"]["since"], edge["properties"]["close"]) for edge in edges]

    def _answer(self, method: str, path: str, body: str | None) -> Any:
        self._connection.request(method, path, body, {"content-type": "application/json"})
        response = self._connection.getresponse()
        text = response.read()
        assert response.status == 200, text
        return json.loads(text)


@contextmanager
def served(data: Path) -> Iterator[Client]:
    """A server in a process of its own, on a free port of loopback."""
    command = [sys.executable, "-m", "weft", "serve", "--port", "0", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if address := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                    yield Client(int(address[1]))
                    return
            raise RuntimeError("the server did not start")
        finally:
            process.terminate()


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    graph = power_law(max(200, int(EDGES * scale)))
    starts = graph.starts(max(10, int(QUESTIONS * scale)))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        here = Weft(data)
        here.fill(graph)
        with served(data) as there:
            for start in starts:
                assert sorted(there.followed(start)) == sorted(here.followed(start))
            series = [
                [partial(there.get, "/v1/graph/types")] * len(starts),
                [partial(here.followed, start) for start in starts],
                [partial(there.followed, start) for start in starts],
            ]
            nothing, inside, over_http = latencies_s(*series)
        here.close()
    report.add_latencies("GET /v1/graph/types", nothing)
    report.add_latencies("1 hop, edges, in process", inside, floor="GET /v1/graph/types")
    report.add_latencies("1 hop, edges, over HTTP", over_http, floor="GET /v1/graph/types")
    report.print()


if __name__ == "__main__":
    main()
