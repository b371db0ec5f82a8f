"""A small web server for the tests of downloads."""

import http.server
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest


@dataclass
class Server:
    """A web server on 127.0.0.1 that serves `files` and can misbehave; `ranges` lists the Range headers it was sent.

    headers: path -> further headers of the answer.   moved: path -> the path to which it redirects, with these headers.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    honour_ranges: bool = True
    cut_after: int | None = None  # close the connection after so many bytes of the body
    url: str = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urllib.parse.unquote(self.path.lstrip("/"))
            if path in state.moved:
                self.send_response(302)
                self.send_header("Location", f"/{state.moved[path]}")
                return self.end_with(path)
            requested = self.headers.get("Range")
            state.ranges.append(requested)
            content = state.files.get(path)
            if content is None:
                return self.send_error(404)
            start = int(requested.removeprefix("bytes=").rstrip("-")) if requested and state.honour_ranges else 0
            if start and start >= len(content):
                self.send_response(416)
                return self.end_with(path)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_with(path)
            self.wfile.write(content[start : None if state.cut_after is None else start + state.cut_after])

        def end_with(self, path: str) -> None:
            for name, value in state.headers.get(path, {}).items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.url = f"http://127.0.0.1:{listening.server_address[1]}/"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            listening.shutdown()
            thread.join()
