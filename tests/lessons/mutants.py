"""Right answers with one change each, and what their judges say of them.

`python tests/lessons/mutants.py [NN] [-v]` prints what becomes of them, for one notebook or all, with -v each one;
`--write` puts the survivors that have a reason into docs/judges.md.
"""

import ast
import collections
import contextlib
import copy
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

from minivit.lessons import check, exercises

MODULES = sorted(module.name for module in pkgutil.iter_modules(exercises.__path__))
MOST = 300  # mutants of one exercise; more are thinned out evenly, with every operator
SECONDS = 3  # of CPU time for one mutant, which may loop for ever
_SWAPS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mod,
    ast.Mod: ast.FloorDiv,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
_NAMES = {
    "sum": "mean",
    "mean": "sum",
    "max": "min",
    "min": "max",
    "maximum": "minimum",
    "minimum": "maximum",
    "argmax": "argmin",
    "argmin": "argmax",
    "zeros_like": "ones_like",
    "zeros": "ones",
    "ones": "zeros",
    "triu": "tril",
    "tril": "triu",
    "sin": "cos",
    "cos": "sin",
    "floor": "ceil",
    "ceil": "floor",
    "std": "var",
    "var": "std",
    "triu_indices": "tril_indices",
    "logaddexp": "maximum",
}
_DROPPED_CALLS = {"exp", "log", "sqrt", "abs", "reversed", "transpose", "swapaxes", "round", "cumsum", "flip", "conj"}


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
        _Unflagged(part, calls).visit(part)
    found = {}
    for part in needed:
        for kind, line in _edits(part):
            if (kind, line) not in found:
                with contextlib.suppress(SyntaxError):
                    code = compile(ast.fix_missing_locations(program), f"<{number}>", "exec")
                    found[kind, line] = Mutant(kind, line, code, module)
    return list(found.values())


class _Unflagged(ast.NodeTransformer):
    """A function with its switches for wrong answers taken out: parameters that no call of the right answer gives."""

    def __init__(self, function: ast.FunctionDef, calls: list[ast.Call]):
        defaults = function.args.defaults
        named = [a.arg for a in function.args.args][len(function.args.args) - len(defaults) :]
        calls = [call for call in calls if getattr(call.func, "id", "") == function.name]
        given = {keyword.arg for call in calls for keyword in call.keywords}
        most = max((len(call.args) for call in calls), default=0) - (len(function.args.args) - len(defaults))
        self.values = {
            name: default.value
            for i, (name, default) in enumerate(zip(named, defaults, strict=True))
            if name not in given and i >= most and isinstance(default, ast.Constant)
        }

    def visit_Name(self, node: ast.Name) -> ast.AST:
        known = isinstance(node.ctx, ast.Load) and node.id in self.values
        return ast.copy_location(ast.Constant(self.values[node.id]), node) if known else node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.AST]:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return (node.body if node.test.value else node.orelse) or ast.Pass()
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        kept = [v for v in node.values if not (isinstance(v, ast.Constant) and not v.value)]
        return kept[0] if isinstance(node.op, ast.Or) and len(kept) == 1 else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        for side, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(node.op, ast.Mult) and isinstance(side, ast.Constant) and side.value in (True, 1.0):
                return other
        return node


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


def _edits(root: ast.AST) -> Iterator[tuple[str, str]]:
    """Changes the tree in place, yields the operator and the changed line, and changes it back."""
    lines: dict[ast.AST, ast.AST] = {}  # node -> the smallest statement around it
    for node in ast.walk(root):
        inner = isinstance(node, ast.stmt) and not isinstance(node, ast.FunctionDef)
        for child in ast.iter_child_nodes(node):
            lines[child] = node if inner else lines.get(node, root)
    parameters = {}
    for node in ast.walk(root):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            free = node.args.args[: len(node.args.args) - len(node.args.defaults)]
            parameters |= {a.arg: [b.arg for b in free] for a in free}
    for parent in list(ast.walk(root)):
        if isinstance(parent, ast.arguments | ast.arg):
            continue  # defaults of parameters belong to the wrong answers
        for field, value in list(ast.iter_fields(parent)):
            for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(child, ast.AST):
                    continue
                for kind, new in _changes(child, parent, parameters):
                    removed = f"{ast.unparse(child)}  # removed"
                    _put(parent, field, place, new)
                    shown = new if isinstance(child, ast.stmt) else _line(parent, lines, root)
                    line = removed if isinstance(new, ast.Pass) else ast.unparse(ast.fix_missing_locations(shown))
                    yield kind, line.split("\n")[0]
                    _put(parent, field, place, child)


def _line(parent: ast.AST, lines: dict[ast.AST, ast.AST], root: ast.AST) -> ast.AST:
    """The smallest statement that holds what stands below the parent: operators are shared, and have no place."""
    inner = isinstance(parent, ast.stmt) and not isinstance(parent, ast.FunctionDef)
    return parent if inner else lines.get(parent, root)


def _put(parent: ast.AST, field: str, place: int | None, node: ast.AST) -> None:
    if place is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[place] = node


def _with(node: ast.AST, **fields) -> ast.AST:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _changes(node: ast.AST, parent: ast.AST, parameters: dict[str, list[str]]) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in the place of a node, each with the name of the operator."""
    if isinstance(node, ast.operator | ast.cmpop | ast.boolop) and type(node) in _SWAPS:
        yield "operator", _SWAPS[type(node)]()
    if isinstance(node, ast.BinOp):
        word = "term" if isinstance(node.op, ast.Add | ast.Sub) else "factor"
        yield f"dropped {word}", node.left
        yield f"dropped {word}", node.right
        if isinstance(node.op, ast.MatMult):
            yield "swapped factors", _with(node, left=node.right, right=node.left)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield "dropped sign", node.operand
    if isinstance(node, ast.Constant) and not isinstance(
        parent, ast.Expr | ast.keyword | ast.FormattedValue | ast.JoinedStr
    ):
        yield from (("constant", ast.Constant(c)) for c in _other_constants(node.value))
    if isinstance(node, ast.Attribute):
        if node.attr == "T":
            yield "dropped transpose", node.value
        if node.attr in _NAMES and isinstance(node.ctx, ast.Load):
            yield "function", _with(node, attr=_NAMES[node.attr])
    if isinstance(node, ast.Call):
        yield from _other_calls(node)
    if isinstance(node, ast.AugAssign):
        yield "= for +=", ast.Assign([node.target], _with(node.value))
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr) and not _is_text(node):
        yield "removed statement", ast.Pass()
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice) and isinstance(node.ctx, ast.Load):
        step = node.slice.step
        if step is not None:
            yield "dropped order", _with(node, slice=_with(node.slice, step=None))
        for end in ("lower", "upper"):
            bound = getattr(node.slice, end)
            if bound is not None:
                shifted = ast.BinOp(bound, ast.Add(), ast.Constant(1))
                yield "shifted slice", _with(node, slice=_with(node.slice, **{end: shifted}))
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield "negated condition", _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.Tuple) and isinstance(parent, ast.Return) and len(node.elts) > 1:
        for i in range(len(node.elts) - 1):
            swapped = list(node.elts)
            swapped[i : i + 2] = reversed(swapped[i : i + 2])
            yield "swapped results", _with(node, elts=swapped)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in parameters:
        names = parameters[node.id]
        if len(names) > 1 and not isinstance(parent, ast.Call | ast.Attribute):
            yield "other name", _with(node, id=names[(names.index(node.id) + 1) % len(names)])


def _other_constants(value: object) -> Iterator[object]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from sorted({value + 1, value - 1, 0, 1, 2} - {value})
    elif isinstance(value, float):
        yield from sorted({0.0, 1.0, 2 * value, -value} - {value})


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _other_calls(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    for i in range(len(node.args) - 1):
        if not any(isinstance(argument, ast.Starred) for argument in node.args):
            swapped = list(node.args)
            swapped[i : i + 2] = reversed(swapped[i : i + 2])
            yield "swapped arguments", _with(node, args=swapped)
    for i, keyword in enumerate(node.keywords):
        yield "dropped keyword", _with(node, keywords=node.keywords[:i] + node.keywords[i + 1 :])
        if isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, int):
            for other in _other_constants(keyword.value.value):
                changed = ast.keyword(keyword.arg, ast.Constant(other))
                yield "keyword", _with(node, keywords=[*node.keywords[:i], changed, *node.keywords[i + 1 :]])
    if name in _DROPPED_CALLS:
        method = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") not in ("np", "math")
        if method or node.args:
            yield "dropped call", node.func.value if method else node.args[0]


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
    page.write_text(
        before + begin + table() + "<!-- end of survivors -->" + rest.partition("<!-- end of survivors -->")[2]
    )


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
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if "--write" in sys.argv:
        sys.exit(write_table())
    wanted = [argument for argument in sys.argv[1:] if argument.isdigit()]
    report([m for m in MODULES if not wanted or m[1:3] in wanted], "-v" in sys.argv)
