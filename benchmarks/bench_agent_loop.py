"""How long does the agent keep a model waiting: from start to the first request, and between two of them?"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from _agent_client import Observed
from _agent_peers import peers_in, report_peers
from _report import Report, elapsed_s, percentile, scale_parser

from weft.agent.models.tokens import CHARS_PER_TOKEN
from weft.core.clock import SYSTEM_CLOCK
from weft.testing.agent import call, failing_repository, step
from weft.testing.model_server import ModelServer

STEPS = 400
STARTS = 10
FILES = 200
"""In the workspace."""
KINDS = {
    "read": [call("read_file", path="calc.py")],
    "three reads": [call("read_file", path="calc.py"), call("list_dir"), call("grep", pattern="mean")],
    "edit": [],
    "command": [call("run_command", command="true")],
}
_CLIENT = Path(__file__).with_name("_agent_client.py")
# Any agent in Python starts an interpreter, and something to speak HTTP with.
_LEAST, _LEAST_NAME = [sys.executable, "-c", "import httpx"], "start of Python that imports httpx, p50"


def run(folder: Path, script: list[Any]) -> tuple[Observed, float]:
    """One session in a process of its own, and the seconds from its start to the first request."""
    workspace = failing_repository(folder / "workspace")
    for number in range(FILES):
        (workspace / f"module{number}.py").write_text(f"VALUE = {number}\n" * 50)
    with ModelServer(script) as server:
        arguments = [server.url, str(workspace), str(folder / "data"), str(len(script) + 1)]
        began_s = SYSTEM_CLOCK.monotonic_s()
        done = subprocess.run([sys.executable, str(_CLIENT), *arguments], capture_output=True, check=True)
    observed = msgspec.json.decode(done.stdout, type=Observed)
    return observed, observed.asked_s[0] - began_s


def script_of(steps: int) -> tuple[list[Any], list[str]]:
    """Replies in turn, and of which kind each is; edits go back and forth between two texts."""
    kinds = [list(KINDS)[number % len(KINDS)] for number in range(steps)]
    made = []
    for number, kind in enumerate(kinds):
        content = f"VALUE = {number}\n"
        calls = KINDS[kind] or [call("write_file", path="module1.py", content=content)]
        varied = [msgspec.structs.replace(each, id=f"c{number}_{index}") for index, each in enumerate(calls)]
        made.append(step(*varied))
    return [*made, step(say="Done.")], kinds


def main() -> None:
    parser = scale_parser(__doc__)
    parser.add_argument(
        "--peer-venv",
        type=Path,
        action="append",
        default=[],
        help="an environment with mini-swe-agent or aider, to compare with; may be given again",
    )
    arguments = parser.parse_args()
    scale: float = arguments.scale
    others = peers_in(arguments.peer_venv)
    report = Report(str(__doc__), scale)
    script, kinds = script_of(max(8, int(STEPS * scale)))
    with tempfile.TemporaryDirectory() as folder:
        observed, _ = run(Path(folder), script)
    gaps = [later - end for end, later in zip(observed.ended_s, observed.asked_s[1:], strict=False)]
    report.add_latencies("gap from last byte to next request", gaps)
    for kind in KINDS:
        report.add_latencies(
            f"gap, {kind}", [gap for gap, each in zip(gaps, kinds, strict=True) if each == kind]
        )
    starts, plain = [], []
    for _ in range(max(2, int(STARTS * scale))):
        with tempfile.TemporaryDirectory() as folder:
            starts.append(run(Path(folder), [step(say="Done.")])[1])
        plain.append(elapsed_s(lambda: subprocess.run(_LEAST, check=True)))
    report.add(_LEAST_NAME, percentile(plain, 50), "s")
    report.add("process start to first request, p50", percentile(starts, 50), "s", floor=_LEAST_NAME)
    report.add("memory of the agent's process", observed.rss_bytes / 1e6, "MB")
    report.add("first prompt with all tools", observed.first_prompt_bytes / CHARS_PER_TOKEN, "tokens")
    report.add("prompts that extend the one before", 100 * observed.prefixes_kept / len(script), "%")
    report_peers(report, others, scale)
    report.print()


if __name__ == "__main__":
    main()
