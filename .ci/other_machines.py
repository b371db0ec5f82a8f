"""Stand-ins for machines that are not here: `python .ci/other_machines.py`, or with the names of some of them.

Each prints one line. One that fails makes the exit status 1; one whose tools are missing is skipped, and says so.
docs/machines.md tells what each stands for.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHORT = ("-m", "minivit.train", "--steps", "3")


class Skipped(Exception):
    """What a stand-in needs is not here; the message says what."""


class Machine:
    """A folder and an environment in which commands run as they would on some other machine.

    patch: Python that each interpreter runs at its start.
    """

    def __init__(self, folder: Path, patch: str = "", **environment: str):
        self.folder, self.python = folder, sys.executable
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        if patch:
            (folder / "start").mkdir()
            (folder / "start" / "sitecustomize.py").write_text(patch, encoding="utf-8")
            self.environment["PYTHONPATH"] = os.pathsep.join([str(folder / "start"), str(ROOT)])

    def run(self, *arguments: str, status: int = 0, clean: bool = False, shell: str = "") -> str:
        """What Python printed. Raises AssertionError if it ends otherwise or shows a traceback, and with `clean` if it
        says anything on stderr. shell: what a shell does to its streams, such as "2>&-"."""
        argv = [self.python, *arguments]
        if shell:
            argv = ["sh", "-c", f'exec "$@" {shell}', "sh", *argv]
        done = subprocess.run(
            argv, cwd=self.folder, env=self.environment, capture_output=True, stdin=subprocess.DEVNULL
        )
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        if done.returncode != status or "Traceback" in err or (clean and err):
            raise AssertionError(f"{' '.join(arguments)}: exit status {done.returncode}\n{out[-3000:]}{err[-3000:]}")
        return out + err

    def test(self, *paths: str) -> None:
        """Run some of the tests of the folder."""
        self.run("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *(f"tests/{path}" for path in paths))

    def train(self, *options: str, **expected: object) -> str:
        """A short run; it must leave a checkpoint and curves behind."""
        said = self.run(*SHORT, *options, **expected)  # type: ignore[arg-type]
        folder = next((self.folder / "runs").iterdir())
        missing = {"config.json", "checkpoint.npz", "metrics.jsonl", "curves.png"} - set(os.listdir(folder))
        assert not missing, f"the run left no {missing}\n{said}"
        return said


def lowest(folder: Path) -> None:
    """The oldest versions that pyproject.toml allows."""
    if sys.version_info >= (3, 13):
        raise Skipped("the oldest NumPy is older than this Python")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tools = [line for line in project["optional-dependencies"]["dev"] if re.match("pytest|hypothesis|ml_dtypes", line)]
    exact = [line.replace(">=", "==") for line in project["dependencies"] + tools]
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    machine = Machine(folder)
    machine.python = str(folder / "venv" / "bin" / "python")
    machine.run("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *exact)
    machine.train(clean=True)
    tests = ("ops/test_attention.py", "ops/test_products.py", "optim", "plots", "commands/test_answers.py")
    more = ("backend/test_workers.py", "backend/test_blas.py", "models/test_archive.py", "models/test_layouts.py")
    machine.folder = ROOT
    machine.test(*tests, *more)


def line_ends(folder: Path) -> None:
    """A clone as Git for Windows makes it."""
    clone = folder / "clone"
    git = ["git", "-c", "safe.directory=*", "clone", "--quiet", "-c", "core.autocrlf=true"]
    if not shutil.which("git") or not (ROOT / ".git").exists():
        raise Skipped("this is no clone, or there is no git")
    subprocess.run([*git, f"file://{ROOT}", clone], check=True)
    assert b"\r\n" in (clone / "README.md").read_bytes(), "git has not changed the line ends"
    subprocess.run(["bash", "-n", clone / ".ci" / "run"], check=True)
    assert b"\r" not in (clone / ".ci" / "run").read_bytes()
    machine = Machine(clone, PYTHONPATH=str(clone))
    machine.run("notebooks/run.py", "--check")
    machine.train(clean=True)
    machine.test("test_readme.py", "test_portability.py", "test_architecture.py", "docs/test_pages.py")


def false_flags(folder: Path) -> None:
    """A matrix library whose products leave floating-point flags behind, as Accelerate on some Macs."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or sys.platform != "linux":
        raise Skipped("it needs Linux and a C compiler")
    library, source = folder / "flags.so", ROOT / ".ci" / "machines" / "false_flags.c"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lm"]
    subprocess.run(command, check=True)
    machine = Machine(folder, LD_PRELOAD=str(library))
    product = "import numpy as np; a = np.ones((20, 20)); assert (a @ a).max() == 20"
    if "encountered in matmul" not in machine.run("-c", product):
        raise Skipped("NumPy's matrix library is not one that can be imitated")
    machine.train("--workers", "1", clean=True)
    image = "from PIL import Image; Image.new('L', (8, 8)).save('a.png')"
    machine.run("-c", image)
    for command in ("evaluate",), ("predict", "a.png"), ("visualize", "--out", "pictures"):
        name, *options = command
        machine.run("-W", "error", "-m", f"minivit.{name}", "runs/digits", *options, clean=True)
    machine.folder = ROOT
    machine.run("notebooks/run.py", "--fast", "01", "07")
    machine.test("nn", "ops/test_products.py", "lessons/test_exercises.py")


def no_home(folder: Path) -> None:
    """A user without a name and without a home, as some containers and hubs have."""
    patch = """
import os, pwd
def unknown(*args):
    raise KeyError("no such user")
pwd.getpwuid = pwd.getpwnam = unknown
for name in ("HOME", "MPLCONFIGDIR", "MINIVIT_DATA", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
    os.environ.pop(name, None)
"""
    machine = Machine(folder, patch)
    machine.train()
    machine.run("-m", "minivit.evaluate", "runs/digits")
    machine.run("-m", "minivit.doctor")
    assert "MINIVIT_DATA" in machine.run(*SHORT, "--data", "cifar10", status=2)


def denied_replace(folder: Path) -> None:
    """Files that another program holds for a moment, as on Windows: each target is denied twice."""
    patch = """
import os
def denied(real):
    seen = {}
    def replace(source, target, **options):
        seen[str(target)] = seen.get(str(target), 0) + 1
        if seen[str(target)] < 3 and "runs" in os.path.abspath(target):
            raise PermissionError(13, "Access is denied", str(target))
        return real(source, target, **options)
    return replace
os.replace, os.rename = denied(os.replace), denied(os.rename)
"""
    Machine(folder, patch).train()


def encoding(folder: Path) -> None:
    """A system whose texts are not UTF-8: the C locale, and output in a code page."""
    names = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    Machine(folder, **names).train("--out", "runs/ł é")
    Machine(folder, **names).run("-m", "minivit.visualize", "runs/ł é", "--out", "pictures")
    again = folder / "again"
    again.mkdir()
    Machine(again, PYTHONIOENCODING="cp437").train("--out", "runs/ł é")


def backend(folder: Path) -> None:
    """The variable that a notebook leaves to its children, where they lack the package that it names."""
    patch = "import sys; sys.modules['matplotlib_inline'] = None"
    machine = Machine(folder, patch, MPLBACKEND="module://matplotlib_inline.backend_inline")
    machine.train()
    machine.run("-m", "minivit.visualize", "runs/digits", "--out", "pictures")


def closed_stderr(folder: Path) -> None:
    """No standard error, as in a service or under pythonw."""
    Machine(folder).train(shell="2>&-")


def quota(folder: Path) -> None:
    """One core by a variable, and by what the scheduler allows."""
    assert "1 worker\n" in Machine(folder, OMP_NUM_THREADS="1").train(clean=True)
    if hasattr(os, "sched_setaffinity"):
        again = folder / "again"
        again.mkdir()
        assert "1 worker\n" in Machine(again, "import os; os.sched_setaffinity(0, [0])").train(clean=True)


def no_safetensors(folder: Path) -> None:
    """A Python for which the package safetensors does not exist."""
    machine = Machine(folder, "import sys; sys.modules['safetensors'] = None")
    machine.train(clean=True)
    machine.run("-c", "open('x.safetensors', 'wb').write(bytes([2]) + bytes(7) + b'{}')")
    said = machine.run("-m", "minivit.predict", "x.safetensors", "a.png", status=2)
    assert "pip install safetensors" in said
    assert said.count("\n") == 1, said


def old_threadpoolctl(folder: Path) -> None:
    """A threadpoolctl that does not see the matrix library."""
    if (os.cpu_count() or 1) < 2:
        raise Skipped("it needs two cores")
    patch = "import threadpoolctl; threadpoolctl.threadpool_info = lambda: []"
    said = Machine(folder, patch, PYTHONWARNINGS="error").train()
    assert "1 worker\n" in said
    assert said.count("is unknown to threadpoolctl") == 1, said


STAND_INS: list[Callable[[Path], None]] = [
    *(lowest, line_ends, false_flags, no_home, denied_replace, encoding, backend, closed_stderr, quota),
    *(no_safetensors, old_threadpoolctl),
]


def name_of(stand_in: Callable[[Path], None]) -> str:
    return stand_in.__name__.replace("_", "-")


def outcome(stand_in: Callable[[Path], None]) -> tuple[bool, str]:
    """Whether it did not fail, and the line to print."""
    begin = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            stand_in(Path(folder))
    except Skipped as reason:
        return True, f"SKIPPED: {reason}"
    except (AssertionError, OSError, subprocess.CalledProcessError) as error:
        return False, f"FAILED: {error}"
    return True, f"ok, {time.perf_counter() - begin:.0f} s"


def main(names: list[str]) -> int:
    chosen = [stand_in for stand_in in STAND_INS if not names or name_of(stand_in) in names]
    if len(chosen) < len(names):
        sys.exit(f"choose from {', '.join(map(name_of, STAND_INS))}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(zip(chosen, pool.map(outcome, chosen), strict=True))
    for stand_in, (_, line) in outcomes:
        print(f"stand-in {name_of(stand_in)}: {line}")
    return not all(fine for _, (fine, _) in outcomes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
