"""Changes of a syntax tree in one place each: the operators of the mutants."""

import ast
import copy
from collections.abc import Iterator

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


def edits(root: ast.AST) -> Iterator[tuple[str, str]]:
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


class Unflagged(ast.NodeTransformer):
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
