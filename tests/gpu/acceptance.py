"""Everything that takes a GPU to be known, in two calls: one of six minutes, and after repairs one of four.

    python tests/gpu/acceptance.py --out DIR                               # right or wrong, then fast or slow
    MINIVIT_DATA=<folder> python tests/gpu/acceptance.py --out DIR --call 2    # CIFAR-10, torch.compile

Every stage is a command in a process of its own, with a limit. The first call asks for each family of kernels by itself
whether it is right, side by side; then, alone on the GPU, how fast steps are, the most important figure first; then
what compute-sanitizer says of each kernel. An illegal address spoils all that follows in its process, and in no other.
`--only NAME ...` repeats what was wrong: stages, or whole parts (checks, speed, sanitizers).

A line is printed for each stage as it ends: what was asked and what was found. DIR gets results.json, written anew
after each, log.txt with all output, also of what was ended at its limit, and the curves of training.

`--rehearse` runs the same stages with tiny sizes on the stand-in for CuPy, to test this script without a GPU.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stages import MINUTES, SIDE_BY_SIDE, Stage, first_call, second_call
from stages_rehearsed import rehearsal

ROOT = Path(__file__).resolve().parents[2]
LEAST = 8  # seconds; with less left, nothing is begun
MARKS = {True: "pass", False: "FAIL", None: "-"}


def run(stage: Stage, environment: dict[str, str], limit: float) -> tuple[dict[str, Any], str]:
    """Run one stage: its result, and everything it printed. When time is up, all its processes are ended."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        try:
            process = subprocess.Popen(
                stage.command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
            )
            try:
                code: int | str = process.wait(limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = f"at its limit of {limit:.0f} s"
        except OSError as error:
            code = type(error).__name__
        file.seek(0)
        output = file.read()
    passed, found = stage.verdict(output)
    if code != 0:
        passed, found = (False if passed is not None else None), f"ended {code}; {found}"
    failed = [line[:300] for line in output.splitlines() if line.startswith(("FAILED", "ERROR", "E  "))][:40]
    seconds = round(time.perf_counter() - begin, 1)
    return {"asked": stage.asked, "passed": passed, "found": found, "seconds": seconds, "failed": failed}, output


class Record:
    """What was found, on the screen and in the folder `out`, complete after each stage."""

    def __init__(self, out: Path):
        self.out, self.results, self.lock = out, {}, threading.Lock()
        out.mkdir(parents=True, exist_ok=True)

    def add(self, stage: Stage, result: dict[str, Any], output: str) -> None:
        with self.lock:
            self.results[stage.name] = result
            line = f"{MARKS[result['passed']]:5}{stage.name:24}{stage.asked:14}{result['seconds']:6.0f} s  "
            print(line + result["found"][:600], flush=True)
            (self.out / "results.json").write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")
            with (self.out / "log.txt").open("a", encoding="utf-8") as log:
                log.write(f"==== {stage.name}: {' '.join(stage.command)}\n{output[-200_000:]}\n")

    def is_wrong(self, name: str) -> bool:
        return self.results.get(name, {}).get("passed") is False


def carry_out(stages: Sequence[Stage], record: Record, environment: dict[str, str], end: float, rehearse: bool) -> None:
    """Part after part: those of SIDE_BY_SIDE all at once, the others one after another."""

    def one(stage: Stage) -> None:
        left = end - time.perf_counter()
        if left < LEAST:
            passed = None if stage.asked == "report" else False
            result = {"asked": stage.asked, "passed": passed, "found": "no time left", "seconds": 0.0, "failed": []}
            record.add(stage, result, "")
            return
        stage = rehearsal(stage) if rehearse else stage
        result, output = run(stage, environment, 600 if rehearse else min(stage.limit, left))
        record.add(stage, result, output)

    for part in dict.fromkeys(stage.part for stage in stages):
        if part == "speed" and record.is_wrong("products"):
            environment["MINIVIT_CUBLASLT"] = "0"  # what is slow without it is still worth a figure
        with ThreadPoolExecutor((2 if rehearse else 16) if part in SIDE_BY_SIDE else 1) as pool:
            list(pool.map(one, [stage for stage in stages if stage.part == part]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("acceptance"), help="folder for log.txt and results.json")
    parser.add_argument("--call", type=int, choices=(1, 2), default=1, help="the first, or the second (default: 1)")
    parser.add_argument("--minutes", type=float, help=f"for everything together (default: {MINUTES[1]}, {MINUTES[2]})")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="stages or parts, of either call")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the stand-in for CuPy, no limits")
    args = parser.parse_args()
    paths = [ROOT, ROOT / "tests/helpers", *([ROOT / "tests/gpu/rehearsal"] if args.rehearse else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONUNBUFFERED": "1"}
    environment |= {"PYTHONFAULTHANDLER": "1", "OPENBLAS_NUM_THREADS": "4"}  # 16 cores, and a dozen processes
    minutes = 600 if args.rehearse else args.minutes or MINUTES[args.call]
    record = Record(args.out)
    with tempfile.TemporaryDirectory() as scratch:
        calls = {1: first_call(), 2: second_call(Path(scratch))}
        stages = calls[args.call]
        if args.only:
            stages = [stage for call in calls.values() for stage in call if {stage.name, stage.part} & set(args.only)]
            if not stages:
                names = ", ".join(stage.name for call in calls.values() for stage in call)
                parser.error(f"nothing is called {', '.join(args.only)}; there are checks, speed, sanitizers, {names}")
        carry_out(stages, record, environment, time.perf_counter() + 60 * minutes, args.rehearse)
        for name in ("curves.png", "metrics.jsonl", "config.json"):
            if (Path(scratch) / "cifar10" / name).exists():
                shutil.copy(Path(scratch) / "cifar10" / name, args.out / f"cifar10-{name}")
    return 0 if not any(map(record.is_wrong, record.results)) else 1


if __name__ == "__main__":
    sys.exit(main())
