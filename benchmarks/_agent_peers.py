"""Other agents beside weft's, before one scripted endpoint: how long each keeps a model waiting.

They are no dependencies: whoever wants them in the table installs mini-swe-agent or aider into an environment
outside the repository and names it. What is timed is what the endpoint sees, of every agent alike. Each runs
with a home of its own, and with proxies that lead nowhere, so that none of them reaches beyond loopback.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from _report import Report, percentile

from weft.agent.models.protocol import CallDelta, Delta, Stopped, TextDelta, Usage
from weft.agent.models.tokens import CHARS_PER_TOKEN
from weft.core.clock import SYSTEM_CLOCK
from weft.testing.agent import BROKEN, MENDED, failing_repository
from weft.testing.model_server_events import events

STARTS = 5
STEPS = 40
TASK = "make the failing test pass"
_CLIENT = Path(__file__).with_name("_agent_client.py")
_NOWHERE = "http://127.0.0.1:9"


class Said(NamedTuple):
    """One reply: a text, or a call."""

    text: str
    tool: str = ""
    arguments: str = "{}"


class Seen(msgspec.Struct):
    """What the endpoint saw of a run, in seconds of the monotonic clock."""

    asked_s: list[float] = []
    ended_s: list[float] = []
    first_prompt_chars: int = 0


class Peer(NamedTuple):
    """An agent that can be pointed at an endpoint."""

    name: str
    command: Callable[[str, Path, int], list[str]]
    """From the endpoint's address, a folder for what it keeps, and how many replies there are."""
    replies: Callable[[int], list[Said]]


def peers_in(environments: list[Path]) -> list[Peer]:
    """The agents that the environments hold."""
    return [peer for environment in environments for peer in _found(environment)]


def report_peers(report: Report, others: list[Peer], scale: float) -> None:
    """Add the figures of weft and of the other agents, which take turns."""
    if not others:
        report.note("Other agents are left out: name the environments that hold them by --peer-venv.")
        return
    peers = [_weft(), *others]
    steps = max(4, int(STEPS * scale))
    rounds = [[_run(peer, steps) for peer in peers] for _ in range(max(2, int(STARTS * scale)))]
    for peer, runs in zip(peers, zip(*rounds, strict=True), strict=True):
        starts = [start_s for start_s, _ in runs]
        report.add(f"{peer.name}: start to first request, p50", percentile(starts, 50), "s")
        report.add_latencies(f"{peer.name}: waited", [gap for _, seen in runs for gap in _gaps(seen)])
        report.add(f"{peer.name}: first prompt", runs[0][1].first_prompt_chars / CHARS_PER_TOKEN, "tokens")


def _gaps(seen: Seen) -> Iterator[float]:
    """From the last byte of each reply to the next request."""
    for ended, asked in zip(seen.ended_s, seen.asked_s[1:], strict=False):
        yield asked - ended


def _found(environment: Path) -> list[Peer]:
    binaries = environment / "bin"
    known = {"mini": _mini, "aider": _aider}
    peers = [make(binaries / name) for name, make in known.items() if (binaries / name).is_file()]
    if not peers:
        raise SystemExit(f"`{environment}` has neither {' nor '.join(known)}: install one of them there")
    return peers


def _weft() -> Peer:
    def command(address: str, state: Path, replies: int) -> list[str]:
        data = str(state / "data")
        return [sys.executable, str(_CLIENT), f"chat:{address}#served", ".", data, str(replies)]

    return Peer("weft", command, lambda steps: [*_commands("run_command", steps), Said("Done.")])


def _mini(program: Path) -> Peer:
    def command(address: str, state: Path, replies: int) -> list[str]:
        settings = ["-c", "mini.yaml", "-c", f"model.model_kwargs.api_base={address}"]
        quiet = ["--yolo", "--exit-immediately", "--cost-limit", "0", "--output", str(state / "run.json")]
        return [str(program), "--model", "openai/served", "--task", TASK, *settings, *quiet]

    last = Said("", "bash", json.dumps({"command": "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"}))
    return Peer("mini-swe-agent", command, lambda steps: [*_commands("bash", steps), last])


def _aider(program: Path) -> Peer:
    """Three times it is told that its tests fail, then it gives up: so each run has three gaps."""

    def command(address: str, state: Path, replies: int) -> list[str]:
        model = ["--model", "openai/served", "--openai-api-base", address, "--edit-format", "diff"]
        tests = ["--auto-test", "--test-cmd", "false", "--no-auto-lint"]
        quiet = ["--yes-always", "--no-git", "--analytics-disable", "--no-check-update", "--no-pretty"]
        return [str(program), *model, *tests, *quiet, "--no-show-model-warnings", "-m", TASK, "calc.py"]

    def replies(steps: int) -> list[Said]:
        return [Said(_block(*pair)) for pair in [(BROKEN, MENDED), (MENDED, BROKEN)] * 2]

    return Peer("aider", command, replies)


def _commands(tool: str, steps: int) -> list[Said]:
    return [Said("", tool, json.dumps({"command": f"cat calc.py # {number}"})) for number in range(steps)]


def _block(search: str, replace: str) -> str:
    return f"calc.py\n```python\n<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n```\n"


def _run(peer: Peer, steps: int) -> tuple[float, Seen]:
    """Seconds from the process's start to its first request, and all that the endpoint saw."""
    replies = peer.replies(steps)
    with tempfile.TemporaryDirectory() as folder, _endpoint(replies) as (address, seen):
        state = Path(folder)
        workspace = failing_repository(state / "workspace")
        command = peer.command(address, state, len(replies) + 1)
        began_s = SYSTEM_CLOCK.monotonic_s()
        done = subprocess.run(
            command,
            cwd=workspace,
            env=_environment(state),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
    if len(seen.ended_s) != len(replies):
        said = (done.stdout + done.stderr)[-1_000:]
        raise SystemExit(f"{peer.name} asked {len(seen.asked_s)} times and not {len(replies)}:\n{said}")
    return seen.asked_s[0] - began_s, seen


def _environment(home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TERM": "dumb",
        "OPENAI_API_KEY": "none",
        "HTTPS_PROXY": _NOWHERE,
        "HTTP_PROXY": _NOWHERE,
        "NO_PROXY": "127.0.0.1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "MSWEA_CONFIGURED": "true",
        "MSWEA_COST_TRACKING": "ignore_errors",
        "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "1",
        "MSWEA_GLOBAL_CONFIG_DIR": str(home / "mini"),
    }


@contextmanager
def _endpoint(replies: list[Said]) -> Iterator[tuple[str, Seen]]:
    """Chat completions on loopback, streamed or whole as it is asked, one reply for each request."""
    seen = Seen()
    left = iter(enumerate(replies))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            asked_s = SYSTEM_CLOCK.monotonic_s()
            number, said = next(left, (-1, None))
            if said is None:
                self.send_error(400, "the script has ended")
                return
            body = json.loads(raw)
            seen.asked_s.append(asked_s)
            if not number:
                prompt = msgspec.json.encode([body.get("tools", []), body["messages"]])
                seen.first_prompt_chars = len(prompt.decode())
            streamed = bool(body.get("stream"))
            data = _streamed(number, said) if streamed else msgspec.json.encode(_whole(number, said))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream" if streamed else "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            seen.ended_s.append(SYSTEM_CLOCK.monotonic_s())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _streamed(number: int, said: Said) -> bytes:
    deltas: list[Delta] = [TextDelta(said.text)] if said.text else []
    if said.tool:
        deltas += [CallDelta(0, id=f"call_{number}", name=said.tool), CallDelta(0, arguments=said.arguments)]
    deltas += [Stopped("calls" if said.tool else "done"), Usage(1_000, 10)]
    return "".join(events("chat", deltas)).encode()


def _whole(number: int, said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    if said.tool:
        function = {"name": said.tool, "arguments": said.arguments}
        message["tool_calls"] = [{"id": f"call_{number}", "type": "function", "function": function}]
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": "served",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if said.tool else "stop"}],
        "usage": {"prompt_tokens": 1_000, "completion_tokens": 10, "total_tokens": 1_010},
    }
