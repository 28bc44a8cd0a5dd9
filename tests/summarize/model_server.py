"""A local HTTP server that speaks the two protocols, well or badly."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

ANTHROPIC, OPENAI = "/v1/messages", "/chat/completions"


class ModelServer:
    """At ``url``; ``text`` is what the model says. ``behaviour`` is how it goes wrong, one entry a request, then well:
    a status, ``slow``, ``held`` (until ``release`` is set), ``cut``, ``nonsense``, ``no json``, ``deep``, ``no text``,
    ``no price``, ``huge``, ``hang up`` or ``redirect``."""

    def __init__(self, text: str = "user: keep 5432") -> None:
        self.text = text
        self.behaviour: list[int | str] = []
        self.redirects_to = ""
        """Where ``redirect`` sends; "" is elsewhere on this server."""
        self.release = threading.Event()
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def reply(self, path: str, *, cut: bool = False) -> dict[str, Any]:
        if path.endswith(ANTHROPIC):
            usage = {"input_tokens": 100, "output_tokens": 7}
            content = [{"type": "text", "text": self.text}]
            return {"content": content, "usage": usage, "stop_reason": "max_tokens" if cut else "end_turn"}
        usage = {"prompt_tokens": 100, "completion_tokens": 7}
        choice = {"message": {"content": self.text}, "finish_reason": "length" if cut else "stop"}
        return {"choices": [choice], "usage": usage}

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it was given up
                    self._answer(server.behaviour.pop(0) if server.behaviour else "well")

            def _answer(self, how: int | str) -> None:
                good = json.dumps(server.reply(self.path, cut=how == "cut")).encode()
                match how:
                    case int():
                        self._send(how, b"{}", {"retry-after": "0"})
                    case "slow":
                        time.sleep(1.0)
                        self._send(200, good)
                    case "held":
                        server.release.wait()
                        self._send(200, good)
                    case "nonsense":
                        self._send(200, b'{"content": 7, "choices": "many"}')
                    case "no json":
                        self._send(200, b"<html>it works</html>")
                    case "deep":
                        self._send(200, b"[" * 200_000)
                    case "no text":
                        self._send(200, good.replace(json.dumps(server.text).encode(), b'"half of one \\ud800"'))
                    case "no price":
                        self._send(200, good.replace(b": 7", b": 1e999"))
                    case "huge":
                        self._send(200, b" " * (2 * 1024 * 1024) + good)
                    case "hang up":
                        self.connection.close()
                    case "redirect":
                        self._send(307, b"", {"location": server.redirects_to or f"{server.url}/elsewhere"})
                    case _:
                        self._send(200, good)

            def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {**(headers or {}), "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                """Quiet."""

        return Handler
