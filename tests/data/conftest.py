"""Fixtures of the data tests: one-line refusals, and a small web server."""

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from minivit.errors import DataError


@pytest.fixture
def refused() -> Callable[..., contextlib.AbstractContextManager[None]]:
    """`with refused("a", "b"):` passes if the block raises a DataError of one line that contains each of the texts."""

    @contextlib.contextmanager
    def check(*texts: str) -> Iterator[None]:
        with pytest.raises(DataError) as caught:
            yield
        message = str(caught.value)
        assert "\n" not in message
        for text in texts:
            assert text in message

    return check


@pytest.fixture
def data_threads() -> Callable[[], list[threading.Thread]]:
    """The background threads of the data room that are alive now."""
    return lambda: [thread for thread in threading.enumerate() if thread.name.startswith("minivit-data")]


@dataclass
class Server:
    """A web server on 127.0.0.1 that serves `files` and can misbehave; `ranges` lists the Range headers it was sent."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)
    honour_ranges: bool = True
    cut_after: int | None = None  # close the connection after so many bytes of the body
    url: str = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested = self.headers.get("Range")
            state.ranges.append(requested)
            content = state.files.get(self.path.lstrip("/"))
            if content is None:
                return self.send_error(404)
            start = int(requested.removeprefix("bytes=").rstrip("-")) if requested and state.honour_ranges else 0
            if start and start >= len(content):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : None if state.cut_after is None else start + state.cut_after])

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
