"""The stages of acceptance.py: commands, limits, and what their output must say."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PYTHON = sys.executable
MINUTES = {1: 6.0, 2: 4.0}  # of each call
SIDE_BY_SIDE = ("checks", "sanitizers")  # parts whose stages run all at once: no figure of theirs is a time
Verdict = Callable[[str], tuple[bool | None, str]]


@dataclass(frozen=True)
class Stage:
    """A command, how long it may take (seconds), and what its output must say.

    verdict: from the output to (passed, what was found); passed is None for a figure that is only reported.
    part: "machine", "checks", "speed" or "sanitizers".
    """

    name: str
    asked: str
    command: list[str]
    limit: float
    verdict: Verdict
    part: str


# A family of kernels: its tests, by words in their names.
FAMILIES = {
    "products": "products or matmul or (linear and not gelu)",
    "attention": "attention or attend or select or embedding",
    "layer_norm": "layer_norm",
    "softmax": "softmax",
    "gelu": "gelu",
    "cross_entropy": "cross_entropy",
    "convolution": "conv2d or group_norm or max_pool or resize",
}
# Kernels of our own with shared memory, where there can be races; the library's are not ours to check.
SHARED = ("attention", "layer_norm", "column_sums", "augment", "tensor_squares", "clip")


def tests(*arguments: str) -> list[str]:
    """The command that runs tests on the GPU: a warning is no failure, a failure is one line."""
    options = ["-m", "gpu", "-p", "no:cacheprovider", "-W", "default", "--tb=short", "-rfE"]
    return [PYTHON, "-m", "pytest", *options, *arguments]


def first_call() -> list[Stage]:
    """Right or wrong; fast or slow; what the sanitizers say."""
    kernels = ("tests/gpu/test_numerics.py", "tests/backend/test_conformance.py")
    checks = [(name, tests(*kernels, "-k", words), passed_tests) for name, words in FAMILIES.items()]
    checks += [
        ("step and graph", tests("tests/update/test_device.py"), passed_tests),
        ("loader", tests("tests/data"), passed_tests),
        ("NumPy and CuPy", [PYTHON, "tests/gpu/same_curve.py"], alike),
        ("every kernel", [PYTHON, "tests/gpu/every_kernel.py"], every_kernel),
    ]
    sanitizers = [("memcheck", "memcheck", "")] + [(f"racecheck {kernel}", "racecheck", kernel) for kernel in SHARED]
    return [
        Stage("machine", "report", [PYTHON, "tests/gpu/machine.py"], 25, lines, "machine"),
        *(Stage(name, "right", command, 100, verdict, "checks") for name, command, verdict in checks),
        Stage("ceilings", "report", [PYTHON, "tests/gpu/ceilings.py"], 20, lines, "speed"),
        comparison("Ti/4 32px B=128 bf16", "Ti/4 32 128 bf16", "torch,no-graph", 35, 2),
        comparison("B/16 B=256 bf16", "B/16 224 256 bf16", "torch", 45, 1.0),
        comparison("Ti/4 32px B=1024 bf16", "Ti/4 32 1024 bf16", "torch,no-graph", 35, 1.2),
        comparison("B/16 B=256 tf32", "B/16 224 256 tf32", "torch", 45, 0.95),
        *(Stage(name, "no errors", sanitizer(*rest), 50, no_errors, "sanitizers") for name, *rest in sanitizers),
    ]


def second_call(out: Path) -> list[Stage]:
    """A training run, and PyTorch's compiler; `--only` adds what is to be repeated."""
    cifar = "-m minivit.train --preset cifar10 --backend cupy --precision bf16 --epochs 40 --out"
    return [
        Stage("CIFAR-10", "report", [PYTHON, *cifar.split(), str(out / "cifar10")], 110, accuracy, "speed"),
        comparison("B/16 bf16, compiled", "B/16 224 256 bf16", "torch-compile", 75, None),
        comparison("Ti/4 bf16, compiled", "Ti/4 32 128 bf16", "torch-graphs", 55, None),
    ]


def comparison(name: str, load: str, rivals: str, limit: float, least: float | None) -> Stage:
    """Training steps against PyTorch's: `load` is model, pixels, batch, precision."""
    model, pixels, batch, precision = load.split()
    sizes = f"--model {model} --image-size {pixels} --batch {batch} --precision {precision} --against {rivals}"
    command = [PYTHON, *f"-m minivit.bench {sizes} --training --backend cupy --rounds 5".split()]
    asked = "report" if least is None else f"at least {least}"
    return Stage(name, asked, command, limit, ratio_to(rivals.partition(",")[0], least), "speed")


def sanitizer(tool: str, kernel: str) -> list[str]:
    """compute-sanitizer on every_kernel.py, of the kernels whose name holds `kernel`."""
    return [PYTHON, "tests/gpu/sanitize.py", tool, *([kernel] if kernel else [])]


# what output must say


def ratio_to(rival: str, least: float | None) -> Verdict:
    """PyTorch's time divided by ours, from the table of `minivit.bench`, which prints the inverse."""

    def verdict(output: str) -> tuple[bool | None, str]:
        row = r"^(\S+) +([\d.]+) .*?(?:   ([\d.]+)  \(.*in ([\d.]+) \.\. ([\d.]+)\))?$"
        rows = {match[1]: match for match in re.finditer(row, output, re.MULTILINE)}
        if rival not in rows or rows[rival][3] is None:
            return (None if least is None else False), "no figure"
        low, middle, high = (1 / float(rows[rival][i]) for i in (5, 3, 4))
        times = ", ".join(f"{name} {match[2]} ms" for name, match in rows.items())
        return (None if least is None else middle >= least), f"{middle:.2f} ({low:.2f} to {high:.2f}); {times}"

    return verdict


def passed_tests(output: str) -> tuple[bool, str]:
    """pytest's last line."""
    last = output.strip().splitlines()[-1] if output.strip() else "no output"
    counts = {word.rstrip("s") for word in re.findall(r"\d+ (\w+)", last)}
    return "passed" in counts and not counts & {"failed", "error"}, last


def no_errors(output: str) -> tuple[bool, str]:
    """compute-sanitizer's summaries."""
    summaries = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: .*", output)
    clean = bool(summaries) and all(re.search(r"SUMMARY: 0 ", line) for line in summaries)
    return clean and "every kernel ran" in output, "; ".join(summaries) or output.strip()[-200:]


def every_kernel(output: str) -> tuple[bool, str]:
    """every_kernel.py reached its end."""
    return "every kernel ran" in output, output.strip()[-200:]


def accuracy(output: str) -> tuple[None, str]:
    """Test accuracy at the end of training, and the time it took."""
    accuracies = re.findall(r"test accuracy ([\d.]+)%", output)
    seconds = re.findall(r"trained in (\d+) s", output)
    if not accuracies or not seconds:
        return None, f"did not finish; {len(accuracies)} evaluations, last {accuracies[-1:]}"
    return None, f"{accuracies[-1]}% after {seconds[-1]} s"


def alike(output: str) -> tuple[bool, str]:
    """Largest relative difference of the losses."""
    found = re.search(r"largest difference ([\d.e+-]+)", output)
    return bool(found) and float(found[1]) < 1e-3, found[0] if found else output.strip()[-200:]


def lines(output: str) -> tuple[None, str]:
    """Everything."""
    return None, "; ".join(" ".join(line.split()) for line in output.strip().splitlines())
