"""Everything that takes a GPU to be known, in one run of at most ten minutes:

    MINIVIT_DATA=<folder with CIFAR-10> python tests/gpu/acceptance.py --out DIR

It checks that the tests pass on the GPU, that compute-sanitizer finds nothing in the kernels, that NumPy and CuPy
learn alike; trains on CIFAR-10; and measures steps against PyTorch's. Every stage is a command in a process of its own,
with a limit; one that fails or runs out of time leaves the others alone. The checks and the training run side by side,
then the measurements one after another. A line is printed for each stage as it ends: what was asked and what was found;
DIR gets results.json, all output in log.txt, and the training's curves. `--only checks`, `training` or `speed` runs a
part by itself.

`--rehearse` runs the same stages with tiny sizes on the stand-in for CuPy, to test this script without a GPU.
"""

import argparse
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
SANITIZER = [PYTHON, "tests/gpu/every_kernel.py"]
TRAINING = "--training --backend cupy --rounds 7"


@dataclasses.dataclass(frozen=True)
class Stage:
    """A command, how long it may take (seconds), and what its output must say.

    verdict: from the output to (passed, what was found); passed is None for a figure that is only reported.
    part: "checks", "training" or "speed".
    """

    name: str
    asked: str
    command: list[str]
    limit: float
    verdict: Callable[[str], tuple[bool | None, str]]
    part: str = "checks"


def bench(model: str, image_size: int, batch: int, precision: str, rivals: str) -> list[str]:
    """The command of a comparison with PyTorch."""
    sizes = f"--model {model} --image-size {image_size} --batch {batch} --precision {precision} --against {rivals}"
    return [PYTHON, "-m", "minivit.bench", *f"{sizes} {TRAINING}".split()]


def ratio_to(rival: str, least: float | None) -> Callable[[str], tuple[bool | None, str]]:
    """PyTorch's time divided by ours, from the table of `minivit.bench`, which prints the inverse."""

    def verdict(output: str) -> tuple[bool | None, str]:
        row = r"^(\S+) +([\d.]+) .*?(?:   ([\d.]+)  \(.*in ([\d.]+) \.\. ([\d.]+)\))?$"
        rows = {match[1]: match for match in re.finditer(row, output, re.MULTILINE)}
        if rival not in rows or rows[rival][3] is None:
            return (None if least is None else False), "no figure"
        low, middle, high = (1 / float(rows[rival][i]) for i in (5, 3, 4))
        text = f"{middle:.2f} ({low:.2f} to {high:.2f}); ours {rows['minivit'][2]} ms, theirs {rows[rival][2]} ms"
        return (None if least is None else middle >= least), text

    return verdict


def passed_tests(output: str) -> tuple[bool, str]:
    """pytest's last line."""
    last = output.strip().splitlines()[-1] if output.strip() else "no output"
    return " passed" in last and "failed" not in last and "error" not in last, last


def no_errors(output: str) -> tuple[bool, str]:
    """compute-sanitizer's summaries."""
    summaries = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: .*", output)
    clean = bool(summaries) and all(re.search(r"SUMMARY: 0 ", line) for line in summaries)
    return clean and "every kernel ran" in output, "; ".join(summaries) or output.strip()[-200:]


def best_accuracy(output: str) -> tuple[bool, str]:
    """Test accuracy at the end of training, and the time it took."""
    accuracies = re.findall(r"test accuracy ([\d.]+)%", output)
    seconds = re.findall(r"trained in (\d+) s", output)
    if not accuracies or not seconds:
        return False, f"did not finish; {len(accuracies)} evaluations, last {accuracies[-1:]}"
    return float(accuracies[-1]) >= 90, f"{accuracies[-1]}% after {float(seconds[-1]) / 60:.1f} minutes"


def alike(output: str) -> tuple[bool, str]:
    """Largest relative difference of the losses."""
    found = re.search(r"largest difference ([\d.e+-]+)", output)
    return bool(found) and float(found[1]) < 1e-3, found[0] if found else output.strip()[-200:]


def stages(out: Path) -> list[Stage]:
    """All of them; of the measurements, what matters most comes first."""
    tests = [PYTHON, "-m", "pytest", "-n", "6", "-m", "gpu", "-p", "no:cacheprovider"]
    tests += ["-W", "default::DeprecationWarning", "-W", "default::FutureWarning"]  # of libraries that are new here
    small, middle, large = ("Ti/4", 32, 128), ("Ti/4", 32, 1024), ("B/16", 224, 256)
    cifar = [PYTHON, "-m", "minivit.train", "--preset", "cifar10", "--backend", "cupy", "--precision", "bf16", "--out"]
    memcheck, racecheck = (["compute-sanitizer", "--tool", tool, *SANITIZER] for tool in ("memcheck", "racecheck"))
    return [
        Stage("machine", "report", [PYTHON, "-m", "minivit.doctor"], 60, gpu_line),
        Stage("tests", "all pass", tests, 330, passed_tests),
        Stage("memcheck", "no errors", memcheck, 330, no_errors),
        Stage("racecheck", "no errors", racecheck, 330, no_errors),
        Stage("NumPy and CuPy", "50 steps alike", [PYTHON, "tests/gpu/same_curve.py"], 120, alike),
        Stage("CIFAR-10", "at least 90%", [*cifar, str(out / "cifar10")], 345, best_accuracy, "training"),
        Stage("ceilings", "report", [PYTHON, "tests/gpu/ceilings.py"], 60, lines, "speed"),
        *(
            Stage(name, asked, bench(*load, precision, rival), limit, ratio_to(rival, least), "speed")
            for name, asked, load, precision, rival, limit, least in (
                ("Ti/4 32px B=128 bf16", "at least 2", small, "bf16", "torch", 60, 2),
                ("Ti/4 32px B=1024 bf16", "at least 1.2", middle, "bf16", "torch", 60, 1.2),
                ("B/16 B=256 bf16", "at least 1.0", large, "bf16", "torch", 75, 1.0),
                ("B/16 B=256 tf32", "at least 0.95", large, "tf32", "torch", 75, 0.95),
                ("B/16 bf16, compiled", "report", large, "bf16", "torch-compile", 120, None),
                ("Ti/4 bf16, compiled", "report", small, "bf16", "torch-graphs", 120, None),
            )
        ),
    ]


def gpu_line(output: str) -> tuple[None, str]:
    """What the doctor says about GPU and CuPy."""
    rows = [line for line in output.splitlines() if line.startswith(("driver", "gpu", "cupy", "cublasLt"))]
    return None, "; ".join(" ".join(row.split()) for row in rows)


def lines(output: str) -> tuple[None, str]:
    """Everything."""
    return None, "; ".join(output.strip().splitlines())


def rehearsal(stage: Stage) -> Stage:
    """The same stage so small that a CPU can do it; without PyTorch and compute-sanitizer, and no figure can fail."""
    command = stage.command
    if "minivit.bench" in command:
        command = bench("Ti/4", 8, 2, "bf16", "no-graph")
        command[command.index("--rounds") + 1] = "1"
        return dataclasses.replace(stage, command=command, verdict=ratio_to("no-graph", None))
    elif "minivit.train" in command:
        small = ["--limit", "20", "--batch-size", "10", "--steps", "4", "--precision", "bf16"]
        command = [PYTHON, "-m", "minivit.train", "--backend", "cupy", *small, "--out", stage.command[-1]]
        return dataclasses.replace(stage, command=command, verdict=lambda text: (None, best_accuracy(text)[1]))
    elif command[0] == "compute-sanitizer":
        return dataclasses.replace(stage, command=SANITIZER, verdict=lambda text: ("every kernel ran" in text, "ran"))
    elif "pytest" in command:
        command = [PYTHON, "-m", "pytest", "tests/backend/test_precision.py", "-p", "no:cacheprovider"]
    elif command[-1].endswith(("same_curve.py", "ceilings.py")):
        command = [*command, "--small"]
    return dataclasses.replace(stage, command=command)


def run(stage: Stage, environment: dict[str, str], limit: float) -> tuple[dict[str, Any], str]:
    """Run one stage: its result, and everything it printed. When time is up, all its processes are ended."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        try:
            process = subprocess.Popen(
                stage.command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
            )
            try:
                code: int | str = process.wait(limit)
            except subprocess.TimeoutExpired as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = type(error).__name__
        except OSError as error:
            code = type(error).__name__
        file.seek(0)
        output = file.read()
    passed, found = stage.verdict(output)
    if code != 0:
        passed, found = (False if passed is not None else None), f"exit {code}; {found}"
    seconds = round(time.perf_counter() - begin, 1)
    return {"asked": stage.asked, "passed": passed, "found": found, "seconds": seconds}, output


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("acceptance"), help="folder for logs and results.json")
    parser.add_argument("--minutes", type=float, default=9.5, help="for everything together (default: 9.5)")
    parser.add_argument("--only", choices=("checks", "training", "speed"), help="a part of it")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the stand-in for CuPy")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    end = time.perf_counter() + 60 * args.minutes
    paths = [ROOT, ROOT / "tests", *([ROOT / "tests/gpu/rehearsal"] if args.rehearse else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONUNBUFFERED": "1"}
    results: dict[str, dict[str, Any]] = {}
    lock, marks = threading.Lock(), {True: "pass", False: "FAIL", None: "-"}

    def carry_out(stage: Stage) -> None:
        left, output = end - time.perf_counter(), ""
        result = {"asked": stage.asked, "passed": None if stage.asked == "report" else False, "seconds": 0.0}
        result["found"] = "no time left"
        if left > 10:
            stage = rehearsal(stage) if args.rehearse else stage
            result, output = run(stage, environment, min(stage.limit, left))
        with lock:
            results[stage.name] = result
            mark = marks[result["passed"]]
            print(f"{mark:5}{stage.name:24}{stage.asked:16}{result['seconds']:6.0f} s  {result['found']}", flush=True)
            (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            with (args.out / "log.txt").open("a") as log:
                log.write(f"==== {stage.name}: {' '.join(stage.command)}\n{output}\n")

    with tempfile.TemporaryDirectory() as scratch:
        wanted = [stage for stage in stages(Path(scratch)) if args.only in (None, stage.part)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(carry_out, [stage for stage in wanted if stage.part != "speed"]))
        for name in ("curves.png", "metrics.jsonl", "config.json"):
            if (Path(scratch) / "cifar10" / name).exists():
                shutil.copy(Path(scratch) / "cifar10" / name, args.out / f"cifar10-{name}")
        for stage in wanted:
            if stage.part == "speed":
                carry_out(stage)
    return 0 if all(r["passed"] is not False for r in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
