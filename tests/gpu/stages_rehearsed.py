"""The stages of acceptance.py, so small that a CPU can do them on the stand-in; no figure can fail."""

import dataclasses

from stages import PYTHON, Stage, accuracy, comparison, every_kernel


def rehearsal(stage: Stage) -> Stage:
    """The same stage without PyTorch and compute-sanitizer."""
    command, verdict = stage.command, stage.verdict
    if "minivit.bench" in command:
        small = comparison(stage.name, "Ti/4 8 2 bf16", "no-graph", stage.limit, None)
        command, verdict = [*small.command, "--rounds", "1"], small.verdict
    elif "minivit.train" in command:
        small = "-m minivit.train --backend cupy --limit 20 --batch-size 10 --steps 4 --precision bf16 --out"
        command, verdict = [PYTHON, *small.split(), command[-1]], accuracy
    elif "tests/gpu/sanitize.py" in command:
        command, verdict = [PYTHON, "tests/gpu/every_kernel.py"], every_kernel
    elif "pytest" in command:  # what runs on the stand-in anyway
        words = command[command.index("-k") + 1] if "-k" in command else ""
        files = [part for part in command if part.startswith("tests/")]
        chosen = f"({words}) and standin" if words else "standin"
        command = [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", *files, "-k", chosen]
    elif command[-1].endswith(("machine.py", "same_curve.py", "ceilings.py")):
        command = [*command, "--small"]
    return dataclasses.replace(stage, command=command, verdict=verdict)
