"""The family of the Vision Transformer: a list of its systems, and their comparison with published code.

python -m minivit.lineage                  the systems: year, paper, what is new, size, parity, preset, notebook
python -m minivit.lineage verify DIR...    recorded outputs of published code, computed again: error below 1e-9
"""

import inspect
import math
from collections.abc import Sequence
from pathlib import Path

from minivit import cli
from minivit.errors import DataError
from minivit.lineage import OBJECTIVES, SYSTEMS, module_of
from minivit.lineage.verify import TOLERANCE, Compared, compare, folders_in, open_case


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser("lineage", "[verify DIR...]", description=__doc__)
    parser.add_argument("action", nargs="?", choices=("list", "verify"), default="list", help="list (default), verify")
    parser.add_argument("folders", nargs="*", type=cli.path, metavar="DIR", help="of recordings")
    args = parser.parse_args(argv)
    if args.action == "list":
        return show()
    if not args.folders:
        parser.error("verify: name the folders of recordings")
    recordings = [recording for folder in args.folders for recording in folders_in(folder)]
    return max(verify(recording) for recording in recordings)


def show() -> int:
    """Print the systems in the order of their years."""
    width = max(map(len, SYSTEMS))
    for name, system in sorted(SYSTEMS.items(), key=lambda item: item[1].year):
        module = module_of(name)
        lines = inspect.getsource(module).count("\n")
        presets = ", ".join(getattr(module, "PRESETS", {})) or "none"
        kind = "objective" if name in OBJECTIVES else "network"
        print(f"{name:{width}} {system.year}  {system.paper}\n{'':{width}} new: {system.new}")
        print(
            f"{'':{width}} {kind}, {lines} lines; parity: {module.PARITY}; preset: {presets}; "
            f"notebook: {system.notebook or 'none'}"
        )
    return 0


def verify(folder: Path) -> int:
    """Compare one recording; 1 if it belongs to no system here, or if an array differs or is unknown."""
    try:
        case = open_case(folder)
        results = list(compare(case))
    except DataError as error:
        print(error)
        return 1
    for result in results:
        print(f"{case.name}  {result.name:60} {describe(result)}")
    known = [result.error for result in results if result.error is not None and result.allowed == TOLERANCE]
    random = sum(result.allowed > TOLERANCE for result in results)
    wrong = sum(not result.fine for result in results)
    worst = max(known, default=math.nan)
    apart = f", {random} more from random draws that cannot be repeated" if random else ""
    counted = f"{len(results) - random} arrays, worst relative error {worst:.1e}{apart}"
    print(f"{case.name}: {counted}, {wrong or 'none'} unknown or too far")
    return int(wrong > 0 or not results)


def describe(result: Compared) -> str:
    """The error of an array in words."""
    if result.error is None:
        return "not known"
    allowed = f"  (random draws: {result.allowed:.2f} is allowed)" if result.allowed > TOLERANCE else ""
    return f"{result.error:.1e}{'' if result.fine else '  TOO FAR'}{allowed}"


if __name__ == "__main__":
    cli.run_command(main)
