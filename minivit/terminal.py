"""How a command deals with its surroundings: closed output streams, signals, threads that hang."""

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

GRACE = 1.5  # seconds for an end in good order
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


def open_streams() -> None:
    """Make standard output and error accept any text: characters missing from their encoding are escaped. Output to a
    closed stream is discarded."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets this number, which no file of a run shall have
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, _nowhere())
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def _nowhere() -> Any:
    return open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", errors="replace", closefd=False)


def silenced(stream: Any) -> Any:
    """The stream, or a replacement, that discards all further output."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # no stream of the system's, as in a notebook
        return _nowhere()
    return stream


def say(line: str) -> None:
    """Print a line on standard error, if it is open."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or None
        sys.stderr.write(f"{line}\n")


class _Unheard:
    """A stream that goes on as if nothing had happened once it cannot be written to."""

    def __init__(self, stream: Any):
        self._stream = stream

    def _try(self, method: str, *args: Any) -> Any:
        try:
            return getattr(self._stream, method)(*args)
        except (OSError, ValueError) as error:  # nobody reads, the disk is full, the terminal was closed
            name = getattr(self._stream, "name", "output")
            self._stream = silenced(self._stream)
            if not isinstance(error, BrokenPipeError):
                say(f"{name} cannot be written to ({getattr(error, 'strerror', None) or error}); going on without it")

    def write(self, text: str) -> Any:
        return self._try("write", text)

    def flush(self) -> None:
        self._try("flush")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """In this context, a failing output stream does not stop the work; its output is lost."""
    with contextlib.redirect_stdout(_Unheard(sys.stdout)), contextlib.redirect_stderr(_Unheard(sys.stderr)):
        yield


@contextlib.contextmanager
def stoppable(stop: Callable[[], None]) -> Iterator[None]:
    """In this context the first signal to end calls `stop`; the second raises KeyboardInterrupt.

    If the context does not end soon after, because a thread hangs, the process exits with status 130. Outside the main
    thread, as in a notebook, signals stay unchanged.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked, left = False, False

    def end_soon() -> None:
        time.sleep(GRACE)
        if not left:
            os.write(2, b"error: interrupted\n")
            os._exit(130)

    def handle(number: int, frame: Any) -> None:
        nonlocal asked
        if not asked:
            asked = True
            return stop()
        _thread.start_new_thread(end_soon, ())  # takes none of the locks that the main thread may hold now
        raise KeyboardInterrupt

    ignored = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # by nohup
    before = {n: signal.signal(n, handle) for n in SIGNALS if not (ignored and n == signal.SIGHUP)}
    try:
        yield
    finally:
        left = True
        for number, handler in before.items():  # None: one of another language, which cannot be put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def leave(status: Any) -> NoReturn:
    """End the command with this exit status, even if output is stuck or one of our threads hangs while reading a
    file."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            setattr(sys, name, silenced(stream))
            if not isinstance(error, BrokenPipeError):
                say(f"error: {name}: {getattr(error, 'strerror', None) or error}")
            status = status or 1
    end = time.monotonic() + GRACE
    ours = [t for t in threading.enumerate() if t.name.startswith("minivit") and not t.daemon]
    for thread in ours:
        thread.join(max(0.0, end - time.monotonic()))
    if any(thread.is_alive() for thread in ours):
        os._exit(status if isinstance(status, int) else int(status is not None))
    sys.exit(status)
