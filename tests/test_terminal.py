"""Signals, streams and threads that hang, where a process of its own is not needed; see commands/test_surroundings."""

import io
import os
import signal
import subprocess
import sys
import threading

import pytest

from minivit import terminal


class Broken(io.StringIO):
    """A stream whose third write and all after it fail."""

    writes = 0

    def write(self, text):
        self.writes += 1
        if self.writes >= 3:
            raise BrokenPipeError
        return super().write(text)


def test_output_that_nobody_reads_is_lost_and_nothing_else(monkeypatch):
    stream = Broken()
    monkeypatch.setattr(sys, "stdout", stream)
    with terminal.unheard():
        for _ in range(4):
            sys.stdout.write("line\n")
        sys.stdout.flush()
        assert sys.stdout.isatty() is False
    assert stream.getvalue() == "line\nline\n"
    assert sys.stdout is stream


def test_streams_that_are_not_there(monkeypatch):
    for stream in (None, io.TextIOWrapper(io.BytesIO(), encoding="utf-8")):
        if stream is not None:
            stream.close()
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        terminal.say("nobody hears")
        terminal.open_streams()
        sys.stdout.write("猫\udcff")
        sys.stderr.write("猫\udcff")


def test_any_text_can_be_written(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "cp1252", errors="strict"))
    terminal.open_streams()
    print("ö 猫 \udcff")  # noqa: T201
    assert raw.getvalue().decode("cp1252") == "ö \\u732b \\udcff" + os.linesep


@pytest.mark.parametrize("number", terminal.SIGNALS)
def test_the_first_signal_asks_and_the_second_ends(number):
    before, asked = [signal.getsignal(n) for n in terminal.SIGNALS], []

    def twice():
        with terminal.stoppable(lambda: asked.append("first")):
            signal.raise_signal(number)
            asked.append("going on")
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert asked == ["first", "going on"]
    assert [signal.getsignal(n) for n in terminal.SIGNALS] == before


def test_a_handler_of_another_language(monkeypatch):
    real = signal.signal
    monkeypatch.setattr(signal, "signal", lambda n, h: (real(n, h), None)[1])  # None: not known to Python
    before = {n: signal.getsignal(n) for n in terminal.SIGNALS}
    try:
        with terminal.stoppable(lambda: None):
            pass
    finally:
        for number, handler in before.items():
            real(number, handler)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP")
def test_what_nohup_lets_pass_is_let_pass():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminal.stoppable(lambda: 1 / 0):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_of_a_notebook_leaves_signals_alone():
    found = []

    def work():
        with terminal.stoppable(lambda: None):
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]


HANG = """
import signal, threading
from concurrent.futures import ThreadPoolExecutor
from minivit import cli, terminal

def main(argv):
    pool = ThreadPoolExecutor(1, thread_name_prefix="minivit-data")
    future = pool.submit(threading.Event().wait)  # a network drive that does not answer
    print("at work")
    {then}

cli.run_command(main)
"""
ENDS = {
    "return 3": (3, ""),
    "future.cancel(); raise KeyboardInterrupt": (130, "error: interrupted\n"),
    "with terminal.stoppable(print), pool: [signal.raise_signal(signal.SIGINT) for _ in range(2)]": (
        130,
        "error: interrupted\n",
    ),
}


@pytest.mark.parametrize("then", ENDS)
def test_a_thread_that_hangs_keeps_no_process_alive(then):
    program = [sys.executable, "-c", HANG.format(then=then)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=250)
    assert done.stdout.startswith("at work\n")
    assert (done.returncode, done.stderr) == ENDS[then]
