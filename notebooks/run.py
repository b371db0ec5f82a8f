"""Execute the notebooks, compare their CPU time with their budgets, and store what they show.

    python notebooks/run.py               # all: writes NN_name.ipynb, the cells of source/NN_name.py with outputs
    python notebooks/run.py 07 08         # some
    python notebooks/run.py --fast        # the same cells with smaller parameters; writes nothing
    python notebooks/run.py --check       # do the .ipynb hold what the .py say? Nothing is executed
    python notebooks/run.py --sync        # writes index.ipynb, and .ipynb with outputs of the cells that did not change
    python notebooks/run.py --student DIR # writes the student edition: derivations are left for the reader to write
    python notebooks/run.py --rehearse    # runs that edition to its first blank, then filled in to its end, as --fast

The exit code is 1 if a cell fails or writes to stderr, or if a pair disagrees. A notebook that takes more CPU time than
it declares is only marked, since machines differ.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

try:
    from tools import index, pairs, student
    from tools.execution import Result, execute, rehearse
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    sys.exit(f'{missing.name} is not installed: python -m pip install -e ".[notebooks]"')

HERE = Path(__file__).resolve().parent
SIDE_BY_SIDE = 2
COURSE = "13"  # the notebooks up to this number are the course; what follows are experiments


def main(arguments: list[str] | None = None, folder: Path = HERE) -> int:
    """Do what the arguments say with the notebooks of a folder; returns the exit code."""
    options = parse(arguments)
    try:
        paths = pairs.find(folder, options.notebooks)
        if options.check:
            return check(paths) if options.notebooks else check(with_orphans(paths, folder), index.problems(folder))
        if options.sync:
            index.write(folder)
            return sync(paths)
        if options.student:
            student.write(paths, options.student)
            print(f"{len(paths)} of the notebooks written to {options.student}: open {options.student / index.NAME}")
            return 0
        fast = options.fast or options.rehearse
        out = options.out or (None if fast else folder)
        return run(paths, fast, out, rehearse if options.rehearse else execute)
    except (pairs.PairError, FileExistsError) as error:
        print(error, file=sys.stderr)
        return 1


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", help="numbers or names of notebooks; all if none is given")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--fast", action="store_true", help="smaller parameters, as in CI; writes nothing without --out")
    what.add_argument("--check", action="store_true", help="compare .py and .ipynb without executing")
    what.add_argument("--sync", action="store_true", help="write .ipynb from .py, keep outputs of unchanged cells")
    what.add_argument("--student", type=Path, metavar="DIR", help="write the edition in which readers fill in lines")
    what.add_argument("--rehearse", action="store_true", help="run the student edition, left blank and filled in")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the executed .ipynb there instead")
    options = parser.parse_args(arguments)
    if options.out and (options.check or options.sync or options.student or options.rehearse):
        parser.error("--out is for what is executed: leave out --check, --sync, --student, --rehearse")
    if options.student and options.student.resolve() == HERE:
        parser.error("--student would overwrite the notebooks themselves: name another folder")
    return options


def with_orphans(paths: list[Path], folder: Path) -> list[Path]:
    """The paths, and those that an .ipynb without a .py should have."""
    return sorted({*paths, *(pairs.source_at(stored) for stored in folder.glob("[0-9]*_*.ipynb"))})


def check(paths: list[Path], others: Iterable[str] = ()) -> int:
    found = [*(problem for path in paths for problem in pairs.problems(path)), *others]
    print("\n".join(found) if found else f"{len(paths)} notebooks: the pairs agree, all outputs are there")
    return 1 if found else 0


def sync(paths: list[Path]) -> int:
    for path in paths:
        notebook = pairs.read_source(path)
        pairs.keep_outputs(notebook, pairs.read_stored(path))
        pairs.write(notebook, pairs.stored_at(path))
        waiting = sum(cell.execution_count is None for cell in pairs.code_cells(notebook))
        print(f"{path.stem}.ipynb written" + (f", {waiting} cells to execute" if waiting else ""))
    return 0


def run(paths: list[Path], fast: bool, out: Path | None, how: Callable[[Path, bool], Result]) -> int:
    """Execute notebooks, two side by side; write those that succeed to the folder `out`, if there is one."""
    budgets = {path: pairs.budget(path, fast) for path in paths}  # a missing one stops us before minutes are spent
    if out:
        out.mkdir(parents=True, exist_ok=True)
    start, results = time.perf_counter(), []
    # Fresh processes ("spawn"): a forked one would inherit threads, and the CPU time of other children.
    with ProcessPoolExecutor(SIDE_BY_SIDE, multiprocessing.get_context("spawn")) as pool:
        for result in pool.map(how, paths, [fast] * len(paths)):
            results.append(result)
            print(report(result, budgets[result.path]), flush=True)
            if out and not result.error:
                pairs.write(result.notebook, out / f"{result.path.stem}.ipynb")
    wall = time.perf_counter() - start
    print(total(f"00 to {COURSE}", [r for r in results if r.path.stem[:2] <= COURSE], budgets))
    print(total("all", results, budgets) + f", {wall:.0f} s of wall time")
    return 1 if any(result.error for result in results) else 0


def report(result: Result, budget: int) -> str:
    """One line on a notebook, and if it failed, why."""
    line = f"{result.path.stem:<26} {result.wall:6.1f} s wall {result.cpu:6.1f} s CPU of {budget:3d} s"
    if result.cpu > budget:
        line += "  OVER BUDGET"
    if result.error:
        line += f"  FAILED\n\n{result.path.name}: {result.error.strip()}\n"
    return line


def total(name: str, results: Iterable[Result], budgets: dict[Path, int]) -> str:
    results = list(results)
    cpu, declared = sum(result.cpu for result in results), sum(budgets[result.path] for result in results)
    return f"total, {name:<19} {cpu:21.1f} s CPU of {declared:3d} s"


if __name__ == "__main__":
    sys.exit(main())
