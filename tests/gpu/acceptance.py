"""Everything that takes a GPU to be known, in one run of at most ten minutes:

    MINIVIT_DATA=<folder with CIFAR-10> python tests/gpu/acceptance.py --out DIR

It checks that the tests pass on the GPU, that compute-sanitizer finds nothing in the kernels, that NumPy and CuPy
learn alike; measures steps against PyTorch's; and trains on CIFAR-10. Every stage is a command in a process of its own,
with a limit; one that fails or runs out of time leaves the others alone. The stages that check run side by side, those
that measure one after another. DIR gets the full output of each and results.json; the table that is printed last says
what was asked and what was found.

`--rehearse` runs the same stages with tiny sizes on the stand-in for CuPy, to test this script without a GPU.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
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
    measures: whether it needs the machine for itself.
    """

    name: str
    asked: str
    command: list[str]
    limit: float
    verdict: Callable[[str], tuple[bool | None, str]]
    measures: bool = True


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
    """All of them; of those that measure, what matters most comes first."""
    tests = [PYTHON, "-m", "pytest", "-n", "8", "-k", "cupy", "-p", "no:cacheprovider"]
    small, middle, large = ("Ti/4", 32, 128), ("Ti/4", 32, 1024), ("B/16", 224, 256)
    cifar = [PYTHON, "-m", "minivit.train", "--preset", "cifar10", "--backend", "cupy", "--precision", "bf16", "--out"]
    alone = [
        ("tests", "all pass", tests, 200, passed_tests),
        ("memcheck", "no errors", ["compute-sanitizer", "--tool", "memcheck", *SANITIZER], 150, no_errors),
        ("racecheck", "no errors", ["compute-sanitizer", "--tool", "racecheck", *SANITIZER], 150, no_errors),
        ("NumPy and CuPy", "50 steps alike", [PYTHON, "tests/gpu/same_curve.py"], 100, alike),
    ]
    measured = [
        ("machine", "report", [PYTHON, "-m", "minivit.doctor"], 60, gpu_line),
        ("ceilings", "report", [PYTHON, "tests/gpu/ceilings.py"], 60, lines),
        ("Ti/4 32px B=128 bf16", "at least 2", bench(*small, "bf16", "torch"), 60, ratio_to("torch", 2)),
        ("Ti/4 32px B=1024 bf16", "at least 1.2", bench(*middle, "bf16", "torch"), 60, ratio_to("torch", 1.2)),
        ("B/16 B=256 bf16", "at least 1.0", bench(*large, "bf16", "torch"), 75, ratio_to("torch", 1.0)),
        ("B/16 B=256 tf32", "at least 0.95", bench(*large, "tf32", "torch"), 75, ratio_to("torch", 0.95)),
        ("CIFAR-10", "at least 90%", [*cifar, str(out / "cifar10")], 330, best_accuracy),
        ("B/16 bf16, compiled", "report", bench(*large, "bf16", "torch-compile"), 120, ratio_to("torch-compile", None)),
        ("Ti/4 bf16, compiled", "report", bench(*small, "bf16", "torch-graphs"), 120, ratio_to("torch-graphs", None)),
    ]
    return [Stage(*entry, measures=False) for entry in alone] + [Stage(*entry) for entry in measured]


def gpu_line(output: str) -> tuple[None, str]:
    """What the doctor says about GPU and CuPy."""
    rows = [line for line in output.splitlines() if line.startswith(("driver", "gpu", "cupy", "cublasLt"))]
    return None, "; ".join(" ".join(row.split()) for row in rows)


def lines(output: str) -> tuple[None, str]:
    """Everything."""
    return None, "; ".join(output.strip().splitlines())


def rehearsal(stage: Stage) -> Stage:
    """The same stage so small that a CPU can do it; without PyTorch and compute-sanitizer."""
    command = stage.command
    if "minivit.bench" in command:
        command = bench("Ti/4", 8, 2, "bf16", "no-graph")
        command[command.index("--rounds") + 1] = "1"
    elif "minivit.train" in command:
        small = ["--limit", "20", "--batch-size", "10", "--steps", "4", "--precision", "bf16"]
        command = [PYTHON, "-m", "minivit.train", "--backend", "cupy", *small, "--out", stage.command[-1]]
    elif command[0] == "compute-sanitizer":
        return dataclasses.replace(stage, command=SANITIZER, verdict=lambda text: ("every kernel ran" in text, "ran"))
    elif "pytest" in command:
        command = [PYTHON, "-m", "pytest", "tests/backend/test_precision.py", "-p", "no:cacheprovider"]
    elif command[-1].endswith(("same_curve.py", "ceilings.py")):
        command = [*command, "--small"]
    return dataclasses.replace(stage, command=command)


def run(stage: Stage, folder: Path, environment: dict[str, str], limit: float) -> dict[str, Any]:
    """Run one stage; everything it prints goes to a file."""
    begin = time.perf_counter()
    log = folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', stage.name)}.log"
    with log.open("w") as file:
        try:
            code: int | str = subprocess.run(
                stage.command,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment,
                timeout=limit,
                check=False,
            ).returncode
        except (subprocess.TimeoutExpired, OSError) as error:
            code = type(error).__name__
    passed, found = stage.verdict(log.read_text())
    if code != 0:
        passed, found = (False if passed is not None else None), f"exit {code}; {found}"
    seconds = round(time.perf_counter() - begin, 1)
    return {"asked": stage.asked, "passed": passed, "found": found, "seconds": seconds}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("acceptance"), help="folder for logs and results.json")
    parser.add_argument("--minutes", type=float, default=9.5, help="for everything together (default: 9.5)")
    parser.add_argument("--only", default="", help="run the stages whose name contains this")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the stand-in for CuPy")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    end = time.perf_counter() + 60 * args.minutes
    paths = [ROOT, ROOT / "tests", *([ROOT / "tests/gpu/rehearsal"] if args.rehearse else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONUNBUFFERED": "1"}
    results: dict[str, dict[str, Any]] = {}

    def carry_out(stage: Stage) -> None:
        left = end - time.perf_counter()
        if left < 10:
            passed = None if stage.asked == "report" else False
            results[stage.name] = {"asked": stage.asked, "passed": passed, "found": "no time left", "seconds": 0}
        else:
            stage = rehearsal(stage) if args.rehearse else stage
            results[stage.name] = run(stage, args.out, environment, min(stage.limit, left))
        (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")

    wanted = [stage for stage in stages(args.out.resolve()) if args.only in stage.name]
    with ThreadPoolExecutor() as pool:
        list(pool.map(carry_out, [stage for stage in wanted if not stage.measures]))
    for stage in wanted:
        if stage.measures:
            carry_out(stage)
    marks = {True: "pass", False: "FAIL", None: "-"}
    for name, r in results.items():
        print(f"{marks[r['passed']]:5}{name:24}{r['asked']:16}{r['seconds']:6.0f} s  {r['found']}")
    return 0 if all(r["passed"] is not False for r in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
