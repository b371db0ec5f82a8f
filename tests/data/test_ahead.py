"""Background threads that hang: they delay nobody's end."""

import signal
import subprocess
import sys
import threading
import time

import pytest
from PIL import Image

from minivit.data.ahead import ahead

HANGS = """
import sys, threading
import numpy as np
from PIL import Image
from minivit import cli, train
from minivit.data import Loader, encoded, folder

def hang(source, min_size=None, name=None):  # as reading from a drive that has gone
    sys.stderr.write("hanging\\n")
    sys.stderr.flush()
    threading.Event().wait()

encoded.read_image = hang
"""
LOADER = """
dataset = folder.FolderDataset(["a", "b"], [0, 0], ["a"], "test")
list(Loader(dataset, 1, lambda images, rng: images, total_steps=2, threads=2))
"""
TRAIN = """
options = f"--data folder:{sys.argv[1]} --out {sys.argv[1]}/run --model Ti/4 --image-size 8 --depth 1 --batch-size 2"
cli.run_command(lambda _: train.main(options.split()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no interrupts to a process")
@pytest.mark.parametrize(("program", "interrupts"), [(LOADER, 1), (TRAIN, 2)], ids=["loader", "train"])
def test_a_thread_that_hangs_does_not_keep_the_process(tmp_path, program, interrupts):
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        for name in "12":
            Image.new("L", (8, 8)).save(tmp_path / split / "a" / f"{name}.png")
    command = [sys.executable, "-c", HANGS + program, str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            said = ""
            while "hanging" not in said:
                said = process.stderr.readline()
                assert said, "it has ended by itself"
            for _ in range(interrupts):
                time.sleep(0.5)
                process.send_signal(signal.SIGINT)
            assert process.wait(60) in (130, -signal.SIGINT)
        finally:
            process.kill()


def test_leaving_waits_for_a_thread_but_not_for_ever(monkeypatch):
    monkeypatch.setattr("minivit.data.ahead.PATIENCE", 0.05)
    release = threading.Event()

    def stuck(number):
        return number if number == 0 else release.wait()

    results = ahead(stuck, range(9), threads=2, depth=3)
    assert next(results) == 0
    results.close()
    left = [thread for thread in threading.enumerate() if thread.name.startswith("minivit-data")]
    assert left
    assert all(thread.daemon for thread in left)
    release.set()
    for thread in left:
        thread.join()


def test_results_are_in_order_and_not_kept():
    class Large:
        alive = 0

        def __init__(self, number):
            self.number = number
            Large.alive += 1

        def __del__(self):
            Large.alive -= 1

    results = ahead(Large, range(20), threads=3, depth=4)
    assert [result.number for result in results] == list(range(20))
    results = ahead(Large, range(20), threads=3, depth=0)
    for _ in range(6):
        kept = next(results)
    deadline = time.monotonic() + 10
    while Large.alive > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (kept.number, Large.alive) == (5, 1)
