"""By hand, a few minutes: a run of two processes that is killed ten times, one rank or all at random moments, ends with
the weights of a run that nobody killed, bit for bit:

    python tests/ranks/kill_at_random.py [RANKS] [SEED]
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "helpers"), str(Path(__file__).parents[2])]
import mpirun

from minivit.runs.folder import read_checkpoint

OPTIONS = ["--steps", "600", "--checkpoint-every", "7", "--eval-every", "100", "--mixup", "0.2", "--crop-padding", "1"]
KILLS = 10


def command(*options):
    return ["-m", "minivit.train", *options]


def ranks_of(launcher):
    """The process ids of the ranks below a launcher."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(status.parent.name))
    found, waiting = [], [launcher]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        try:
            if b"python" in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0]:
                found.append(process)
        except OSError:
            continue
    return sorted(found)


def state(folder):
    states, meta = read_checkpoint(Path(folder) / "checkpoint.npz")
    return meta["step"], {f"{p}/{n}": x.tobytes() for p, arrays in states.items() for n, x in arrays.items()}


def main(count, seed):
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        begin = time.monotonic()
        status, _, err = mpirun.run(count, command(*OPTIONS, "--out", "whole"), cwd=place, seconds=600)
        whole = time.monotonic() - begin
        assert status == 0, err
        kills = 0
        while True:
            new = not (Path(place) / "killed").exists()
            again = [*OPTIONS, "--out", "killed"] if new else ["--resume", "killed"]
            with mpirun.start(count, command(*again), cwd=place) as process:
                if kills < KILLS:
                    try:
                        process.wait(rng.uniform(0.5, 3.0) if not new else 4.0)
                    except subprocess.TimeoutExpired:
                        found = ranks_of(process.pid)
                        chosen = found if rng.random() < 0.5 else [rng.choice(found)]
                        for one in chosen:
                            os.kill(one, signal.SIGKILL)
                        kills += 1
                        killed = time.monotonic()
                        process.communicate(timeout=60)
                        took = time.monotonic() - killed
                        saved = (Path(place) / "killed" / "checkpoint.npz").exists()
                        step = state(Path(place) / "killed")[0] if saved else 0
                        killed_ones = f"{len(chosen)} of {len(found)} processes"
                        print(f"kill {kills}: {killed_ones}, all had ended after {took:.2f} s, step {step}")
                        continue
                _, err = process.communicate(timeout=600)
            assert process.returncode == 0, err
            break
        one, two = (state(Path(place) / name) for name in ("whole", "killed"))
        assert kills == KILLS, f"only {kills} kills before the end: the run takes {whole:.0f} s"
        assert one == two, "the weights differ"
        print(f"{count} ranks, {kills} kills: {len(one[1])} arrays equal bit for bit at step {one[0]}")


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    main(*given, *(2, 0)[len(given) :])
