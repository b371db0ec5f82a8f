"""Right answers with one change each, and what their judges say of them.

`PYTHONPATH=tests python tests/lessons/mutants.py [NN] [-v]` prints what becomes of them, for one notebook or all, with
-v each one;
`--write` puts the survivors that have a reason into docs/judges.md.
"""

import ast
import collections
import contextlib
import importlib
import inspect
import pkgutil
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lessons.mutators import Unflagged, edits

from minivit.lessons import check, exercises

MODULES = sorted(module.name for module in pkgutil.iter_modules(exercises.__path__))
MOST = 300  # mutants of one exercise; more are thinned out evenly, with every operator
SECONDS = 2  # of CPU time for one mutant, which may loop for ever


@dataclass(frozen=True)
class Mutant:
    """kind: the operator.   line: the changed statement.   answer: the changed answer."""

    kind: str
    line: str
    code: object
    module: str

    def answer(self):
        """A new answer; Exception if the changed text cannot even be run."""
        namespace = {"__name__": self.module}
        exec(self.code, namespace)
        return namespace["ANSWER"]


def mutants(module: str, number: str, place: int) -> list[Mutant]:
    """All mutants of the right answer at this place of RIGHT[number]."""
    tree = ast.parse(inspect.getsource(answers(module)))
    expression = _right_answer(tree, number, place)
    definitions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    needed, todo = [], [expression]
    while todo:
        part = todo.pop()
        needed.append(part)
        names = {node.id for node in ast.walk(part) if isinstance(node, ast.Name)}
        todo += [d for name, d in definitions.items() if name in names and d not in needed and d not in todo]
    body = [s for s in tree.body if not (isinstance(s, ast.Assign) and _target(s) in ("RIGHT", "WRONG", "EQUIVALENT"))]
    body.append(ast.Assign([ast.Name("ANSWER", ast.Store())], expression))
    program = ast.Module(body, [])
    calls = [node for part in needed for node in ast.walk(part) if isinstance(node, ast.Call)]
    for part in needed[1:]:
        Unflagged(part, calls).visit(part)
    found = {}
    for part in needed:
        for kind, line in edits(part):
            if (kind, line) not in found:
                with contextlib.suppress(SyntaxError):
                    code = compile(ast.fix_missing_locations(program), f"<{number}>", "exec")
                    found[kind, line] = Mutant(kind, line, code, module)
    return list(found.values())


def sample(mutants: list[Mutant], most: int = MOST) -> list[Mutant]:
    """At most about so many, of every operator, the same ones every time."""
    kinds: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        kinds.setdefault(mutant.kind, []).append(mutant)
    share = min(1.0, most / max(1, len(mutants)))
    chosen = []
    for group in kinds.values():
        count = max(1, round(share * len(group)))
        chosen += [group[i * len(group) // count] for i in range(count)]
    return chosen


def answers(module: str):
    return importlib.import_module(f"lessons.answers.{module}")


def _target(statement: ast.Assign) -> str:
    return getattr(statement.targets[0], "id", "")


def _right_answer(tree: ast.Module, number: str, place: int) -> ast.expr:
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and _target(statement) == "RIGHT":
            table = dict(zip([key.value for key in statement.value.keys], statement.value.values, strict=True))
            return table[number].elts[place]
    raise AssertionError("no RIGHT in the answers")


class TooLong(BaseException):
    """A mutant that does not end; no Exception, so that judges do not take it for an error of the answer."""


@contextlib.contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """Raises TooLong after so many seconds of CPU time, where the system can count them."""

    def stop(*_):
        raise TooLong

    if not hasattr(signal, "SIGVTALRM"):
        yield
        return
    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


_ERROR = re.compile(r"It raised |cannot be judged")
_GENERIC = (
    re.compile(r"^[^.]* differs from the right values? by (up to )?[^, ]+\.$"),
    re.compile(r"^[^.]* has shape [^:]*\.$"),
    re.compile(r"^[^:]* is not finite everywhere: there are NaN or infinite values[^:]*\.$"),
    re.compile(r"^It should return .*, and returns .*\.$"),
    re.compile(r"^It is not \S+\.$"),
    re.compile(r"^[^.]* is right to a few digits.*$"),
)


def fate(number: str, mutant: Mutant) -> tuple[str, str]:
    """survived, endless, error, generic, which (only which results are wrong) or specific; with what the judge says."""
    try:
        with limited(), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            verdict = check(number, mutant.answer())
    except TooLong:
        return "endless", ""
    except Exception as error:
        return "error", repr(error)
    if verdict.right:
        return "survived", ""
    return ("error" if verdict.right is None else told(verdict.text)), verdict.text


def told(text: str) -> str:
    """What kind of fault a verdict tells: error, generic, which or specific."""
    if _ERROR.search(text):
        return "error"
    said = re.sub(r" The arguments were [^:]*$", "", text)
    if any(form.match(said) for form in _GENERIC):
        return "generic"
    for name in (r"\S+?", r"[Rr]esult \d"):  # with names for the results, or numbers
        said = re.sub(rf"( {name}(, {name})*( and {name})? (is|are) (right|not right either)\.)+$", "", said)
    return "which" if any(form.match(said) for form in _GENERIC) else "specific"


def tried(module: str) -> Iterator[tuple[str, Mutant, str, str]]:
    """Exercise, mutant, fate and verdict, for every exercise of a notebook that asks for a function."""
    for number, given in answers(module).RIGHT.items():
        found = [m for place, answer in enumerate(given) if callable(answer) for m in mutants(module, number, place)]
        for mutant in sample(found):
            yield number, mutant, *fate(number, mutant)


def is_named(line: str, known: str) -> bool:
    """Whether an entry of EQUIVALENT means this line; an ellipsis in it stands for anything."""
    return re.fullmatch(re.escape(known).replace("…", ".*"), line) is not None


def table() -> str:
    """The survivors of all notebooks and why they are right, in Markdown."""
    rows = ["| exercise | changed line of a right answer | why it is still right |", "|---|---|---|"]
    for module in MODULES:
        for number, names in getattr(answers(module), "EQUIVALENT", {}).items():
            rows += [
                f"| {number} | `{name.replace('|', chr(92) + '|')}` | {reason} |" for name, reason in names.items()
            ]
    return "\n".join(rows) + "\n"


def write_table() -> None:
    """Puts the table into the page."""
    page = Path(__file__).parents[2] / "docs" / "judges.md"
    before, begin, rest = page.read_text(encoding="utf-8").partition("<!-- survivors -->\n")
    after = rest.partition("<!-- end of survivors -->")[2]
    page.write_text(before + begin + table() + "<!-- end of survivors -->" + after, encoding="utf-8")


def report(modules: list[str], verbose: bool) -> None:
    """Prints what becomes of the mutants of each notebook, and the survivors that have no reason yet."""
    total: collections.Counter[str] = collections.Counter()
    for module in modules:
        fates: collections.Counter[str] = collections.Counter()
        known = getattr(answers(module), "EQUIVALENT", {})
        for number, mutant, what, said in tried(module):
            fates[what] += 1
            if verbose or (what == "survived" and not any(is_named(mutant.line, k) for k in known.get(number, {}))):
                print(f"{number} {what}: {mutant.kind}: {mutant.line!r} {said}")
        print(f"{module}: {dict(fates)}, specific {share(fates):.0%}")
        total += fates
    print(f"{dict(total)}, specific {share(total):.0%}")


def share(fates: Mapping[str, int]) -> float:
    """Of the mutants that return something wrong, the share that is told something of its own."""
    told = fates["specific"] + fates["which"]
    return told / max(1, told + fates["generic"])


if __name__ == "__main__":
    if "--write" in sys.argv:
        sys.exit(write_table())
    wanted = [argument for argument in sys.argv[1:] if argument[0].isdigit()]
    report([m for m in MODULES if not wanted or m[1:].partition("_")[0] in wanted], "-v" in sys.argv)
