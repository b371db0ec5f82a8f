"""Where what runs notebooks is not installed, their tests are skipped, and every other test runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(folder, *arguments):
    """Run Python as if these packages were not there."""
    for name in ("jupytext", "nbclient", "nbformat", "ipykernel"):
        missing = f"raise ModuleNotFoundError('No module named {name}', name={name!r})\n"
        (folder / f"{name}.py").write_text(missing, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_their_tests_are_skipped(tmp_path):
    files = [str(path) for path in sorted(Path(__file__).parent.glob("test_*.py")) if path != Path(__file__)]
    result = python(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", *files)
    assert result.returncode == 0, result.stdout[-2000:]
    skipped = re.findall(r"^(\d+) skipped: could not import", result.stdout, re.MULTILINE)
    assert sum(map(int, skipped)) == 7


def test_the_runner_says_in_one_line_what_to_install(tmp_path):
    result = python(tmp_path, "notebooks/run.py")
    assert result.returncode == 1
    assert result.stderr == 'nbformat is not installed: python -m pip install -e ".[notebooks]"\n'
