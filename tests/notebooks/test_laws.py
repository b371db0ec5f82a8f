"""What holds in every notebook: budgets that fit, a place in the list, no gradient check that sees too little, lines
for the reader to write, and experiments that ask first and tell afterwards."""

import ast
import re

import pytest

pairs, run, student = map(pytest.importorskip, ("tools.pairs", "run", "tools.student"))
PATHS = pairs.find(run.HERE, [])


SUMS_OF = ("F", "functional", "np")  # modules with a function `sum`


def bare_sum(node: ast.AST | None, sums: dict[str, bool]) -> bool:
    """Whether an expression has in it the sum of something that is not a product: x.sum(), -2 * F.sum(f(x)), a name of
    such a sum. sums: the names assigned so far, and whether each is one.

    A product is what the law asks for: (y * cotangent).sum(). One with a number is none.
    """
    if isinstance(node, ast.Name):
        return sums.get(node.id, False)
    if isinstance(node, ast.UnaryOp):
        return bare_sum(node.operand, sums)
    if isinstance(node, ast.BinOp):
        return bare_sum(node.left, sums) or bare_sum(node.right, sums)
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sum"):
        return False
    of_module = isinstance(node.func.value, ast.Name) and node.func.value.id in SUMS_OF
    summed = next(iter(arguments(node)), None) if of_module else node.func.value
    is_product = isinstance(summed, ast.BinOp) and isinstance(summed.op, ast.Mult)
    return not (is_product and not any(isinstance(side, ast.Constant) for side in (summed.left, summed.right)))


def arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def all_ones(node: ast.expr) -> bool:
    """Whether an expression is np.ones(...) or np.ones_like(...)."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("ones", "ones_like")


def sums_differentiated(source: str) -> list[int]:
    """Lines in which the gradient of a bare sum is taken: there the cotangent is all ones, and the pullback of softmax
    or LayerNorm gives zeros, right or wrong. A line that shows just that says `# .sum() on purpose`."""
    lines, sums, found = source.splitlines(), {}, []
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign | ast.Call)]
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node, ast.Assign):
            sums |= {target.id: bare_sum(node.value, sums) for target in node.targets if isinstance(target, ast.Name)}
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        if name == "backward":
            loss, cotangent = getattr(node.func, "value", None), arguments(node)
        elif name in ("grad", "BackwardStepper"):
            loss, *cotangent = arguments(node) or [None]
        else:
            continue
        if bare_sum(loss, sums) or any(map(all_ones, cotangent)):
            found.append(node.lineno)
    return [number for number in found if "# .sum() on purpose" not in lines[number - 1]]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_no_gradient_check_reduces_by_sum(path):
    assert not sums_differentiated(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "y.sum().backward()",
        "f(x).sum().backward()",
        "(a + b).sum().backward()",
        "dx, = grad(softmax(x).sum(), [x])",
        "tensor.grad(F.sum(layer_norm(x)), [x])",
        "loss = y.sum(axis=0)\nloss.backward()",
        "total = y.sum()\ndx = grad(total, [x])",
        "BackwardStepper(y.sum())",
        "(-y.sum()).backward()",
        "grad(y.sum() * 2, [x])",
        "grad((y * 1).sum(), [x])",
        "grad(F.sum(x=y), [x])",
        "grad(y, [x], np.ones_like(y.data))",
        "y.backward(g=np.ones(3))",
    ],
)
def test_a_bare_sum_is_found(source):
    assert sums_differentiated(source)


@pytest.mark.parametrize(
    "source",
    [
        "(y * cotangent).sum().backward()",
        "grad(F.sum(y * cotangent), [x])",
        "y.sum().backward()  # .sum() on purpose: the check that sees nothing",
        "y.sum()",
        "loss = F.cross_entropy(y, labels)\nloss.backward()",
        "print('y.sum().backward()')",
        "total = y.sum()\ntotal = (y * c).sum()\ntotal.backward()",
        "mean = y.sum() / n\nnp.sum()\ngrad()",
    ],
)
def test_other_code_is_none(source):
    assert not sums_differentiated(source)


@pytest.mark.parametrize(
    ("last", "fast", "limit"),
    [("13", False, 480), ("99", False, 2400), ("99", True, 300)],  # seconds of CPU time
    ids=["course in full", "all in full", "all in CI"],
)
def test_the_declared_budgets_fit(last, fast, limit):
    declared = {path.stem: pairs.budget(path, fast) for path in PATHS if path.stem[:2] <= last}
    assert sum(declared.values()) <= limit, declared


def test_every_notebook_is_in_the_list():
    readme = (run.HERE / "README.md").read_text(encoding="utf-8")
    assert not [path.stem for path in PATHS if f"`{path.stem}`" not in readme]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_notebook_leaves_lines_to_its_reader(path):
    assert any(student.is_blank(cell) for cell in student.edition(path).cells)


def silent_experiments(text: str) -> list[str]:
    """The headings of experiments whose sections do not first ask what will come out, and then tell what did."""
    found = []
    for section in re.split(r"^# (?=## )", text, flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        asked, told = section.find("# **Predict first.**"), section.rfind("# **In the stored run**")
        if heading.lower().startswith("## experiment") and not 0 < asked < told:
            found.append(heading)
    return found


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_an_experiment_asks_first_and_tells_what_came_out(path):
    assert not silent_experiments(path.read_text(encoding="utf-8"))


def test_a_silent_experiment_is_found():
    text = "# ## Experiment: one\n# **Predict first.** What?\n#\n# **In the stored run** this.\n"
    assert silent_experiments(text) == []
    assert silent_experiments(text.replace("Predict", "Guess")) == ["## Experiment: one"]
    assert silent_experiments(text.replace("stored", "next")) == ["## Experiment: one"]
    assert silent_experiments(text + "# ## Theory\n# ## Experiment, long\n") == ["## Experiment, long"]
