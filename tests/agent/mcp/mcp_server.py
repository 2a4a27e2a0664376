"""A real MCP server of a few odd tools, of the standard library alone: stdio when run, HTTP in a test."""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OBJECT = {"type": "object"}
TOOLS = {
    "echo": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    "fail": OBJECT,
    "refuse": OBJECT,
    "slow": OBJECT,
    "big": {"type": "object", "properties": {"bytes": {"type": "integer"}}},
    "grow": OBJECT,
    "shrink": OBJECT,
    "change": OBJECT,
    "crash": OBJECT,
    "mixed": OBJECT,
    "where": OBJECT,
    "odd.name/with a very long tail that no model API would take as it is": OBJECT,
}
PAGE = 5


class Logic:
    """What the server answers; `emit` sends further messages before the answer."""

    def __init__(self, version="2025-06-18"):
        self.version = version
        self.tools = dict(TOOLS)
        self.heard = []

    def answer(self, message, emit):
        method, params = message.get("method"), message.get("params") or {}
        self.heard.append(message)
        if "id" not in message or method is None:
            return None
        if method == "initialize":
            return result(
                message, {"protocolVersion": self.version, "capabilities": {"tools": {"listChanged": True}}}
            )
        if method == "tools/list":
            start = int(params.get("cursor", 0))
            names = list(self.tools)
            page = {
                "tools": [
                    {"name": n, "description": f"The tool\n{n}.", "inputSchema": self.tools[n]}
                    for n in names[start : start + PAGE]
                ]
            }
            if start + PAGE < len(names):
                page["nextCursor"] = str(start + PAGE)
            return result(message, page)
        if method == "tools/call":
            return self.call(message, params["name"], params.get("arguments") or {}, emit)
        return error(message, -32601, "no such method")

    def call(self, message, name, arguments, emit):
        match name:
            case "echo":
                emit({"jsonrpc": "2.0", "id": "p1", "method": "ping"})
                emit({"jsonrpc": "2.0", "id": "s1", "method": "sampling/createMessage", "params": {}})
                emit(
                    {
                        "jsonrpc": "2.0",
                        "id": 9999,
                        "result": {"content": [{"type": "text", "text": "forged"}]},
                    }
                )
                emit({"jsonrpc": "2.0", "method": "notifications/progress", "params": {}})
                return text(message, arguments["text"])
            case "fail":
                return result(message, {"content": [{"type": "text", "text": "it broke"}], "isError": True})
            case "refuse":
                return error(message, -32602, "arguments do not please")
            case "big":
                return text(message, "x" * arguments["bytes"])
            case "grow" | "shrink" | "change":
                if name == "grow":
                    self.tools["added"] = OBJECT
                elif name == "shrink":
                    self.tools.pop("echo")
                else:
                    self.tools["echo"] = {"type": "object", "properties": {"words": {"type": "array"}}}
                emit({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
                return text(message, "done")
            case "crash":
                sys.stderr.write("out of luck\n")
                sys.stderr.flush()
                os._exit(3)
            case "mixed":
                return result(
                    message,
                    {
                        "content": [
                            {"type": "text", "text": "one"},
                            {"type": "image", "data": "QUJD", "mimeType": "image/png"},
                            {"type": "resource", "resource": {"uri": "x:1", "text": "two"}},
                            {"type": "resource_link", "uri": "x:2", "name": "n"},
                            {"type": "hologram"},
                        ],
                        "structuredContent": {"n": 1},
                    },
                )
            case "where":
                said = {
                    "folder": os.getcwd(),
                    "key": os.environ.get("MCP_KEY", ""),
                    "home": os.environ["HOME"],
                }
                return result(message, {"content": [], "structuredContent": said})
        return error(message, -32602, f"unknown tool {name}")


def result(message, value):
    return {"jsonrpc": "2.0", "id": message["id"], "result": value}


def error(message, code, words):
    return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": words}}


def text(message, words):
    return result(message, {"content": [{"type": "text", "text": words}]})


def stdio():
    """One message a line; `slow` answers only when it is cancelled, and notes that in a file."""
    logic = Logic(*sys.argv[1:])

    def emit(message):
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    print("a banner that is no message", flush=True)
    print("a word on standard error", file=sys.stderr, flush=True)
    slow = None
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "notifications/cancelled" and slow == message["params"]["requestId"]:
            with open("cancelled", "w") as file:
                file.write(str(slow))
        elif (message.get("params") or {}).get("name") == "slow":
            slow = message["id"]
        elif message.get("id") in ("p1", "s1"):
            with open("answers", "a") as file:
                file.write(line)
        elif answer := logic.answer(message, emit):
            emit(answer)


class HttpMcp:
    """The same over HTTP on loopback: odd calls are answered as JSON, even ones as a stream of events."""

    def __init__(self):
        outer = self
        self.logic = Logic()
        self.sessions = set()
        self.requests = []
        self.events = []
        self.news = threading.Event()
        self.closing = threading.Event()
        self.denied = False
        self.count = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                outer.post(self)

            def do_GET(self):
                outer.get(self)

            def do_DELETE(self):
                outer.requests.append(("DELETE", dict(self.headers), None))
                outer.reply(self, 204)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/mcp"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def post(self, handler):
        message = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        self.requests.append(("POST", dict(handler.headers), message))
        if self.denied:
            return self.reply(handler, 401)
        if message.get("method") == "initialize":
            session = f"s{len(self.sessions) + len(self.requests)}"
            self.sessions.add(session)
            body = json.dumps(self.logic.answer(message, None)).encode()
            return self.reply(handler, 200, body, {"Mcp-Session-Id": session})
        if handler.headers.get("Mcp-Session-Id") not in self.sessions:
            return self.reply(handler, 404)
        name = (message.get("params") or {}).get("name")
        if name == "slow":
            self.stream(handler, [])
            self.closing.wait(5)
            return None
        said = []
        answer = self.logic.answer(message, said.append)
        if answer is None:
            return self.reply(handler, 202)
        self.count += 1
        if said or self.count % 2 == 0:
            return self.stream(handler, [*said, answer])
        return self.reply(handler, 200, json.dumps(answer).encode())

    def get(self, handler):
        self.requests.append(("GET", dict(handler.headers), None))
        self.news.wait(10)
        self.stream(handler, [{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}])

    def stream(self, handler, messages):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        for message in messages:
            handler.wfile.write(b": comment\nevent: message\ndata: " + json.dumps(message).encode() + b"\n\n")
            handler.wfile.flush()
            time.sleep(0.001)
        handler.close_connection = True

    def reply(self, handler, status, body=b"", headers=None):
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        if body:
            handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def close(self):
        self.closing.set()
        self.news.set()
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    stdio()
