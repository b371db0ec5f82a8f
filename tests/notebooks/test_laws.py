"""What holds in every notebook: budgets that fit, a place in the list, no gradient check that sees too little."""

import ast

import pairs
import pytest
import run

PATHS = pairs.find(run.HERE, [])
CORES = 2
MINUTE = 60  # seconds


def bare_sum(node: ast.AST, sums: set[str]) -> bool:
    """Whether an expression is the sum of something that is not a product: x.sum(), F.sum(f(x)), a name of such a sum.

    A product is what the law asks for: (y * cotangent).sum().
    """
    if isinstance(node, ast.Name):
        return node.id in sums
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sum"):
        return False
    of_module = isinstance(node.func.value, ast.Name) and node.func.value.id in ("F", "functional", "np")
    summed = node.args[0] if of_module else node.func.value
    return not (isinstance(summed, ast.BinOp) and isinstance(summed.op, ast.Mult))


def sums_differentiated(source: str) -> list[int]:
    """Lines in which the gradient of a bare sum is taken: there the cotangent is all ones, and the pullback of softmax
    or LayerNorm gives zeros, right or wrong. A line that shows just that says `# .sum() on purpose`."""
    tree, lines = ast.parse(source), source.splitlines()
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and bare_sum(node.value, set())]
    sums = {target.id for node in assigned for target in node.targets if isinstance(target, ast.Name)}
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        differentiated = {"backward": [getattr(node.func, "value", node)], "grad": node.args[:1]}.get(name, [])
        if any(bare_sum(loss, sums) for loss in differentiated):
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
        "BackwardStepper(y.sum())\ntotal = y.sum()\ndx = grad(total, [x])",
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
    ],
)
def test_other_code_is_none(source):
    assert not sums_differentiated(source)


@pytest.mark.parametrize(
    ("last", "fast", "minutes"),
    [("13", False, 8), ("99", False, 25), ("99", True, 8)],
    ids=["course in full", "all in full", "all in CI"],
)
def test_the_declared_budgets_fit(last, fast, minutes):
    declared = {path.stem: pairs.budget(path, fast) for path in PATHS if path.stem[:2] <= last}
    assert sum(declared.values()) <= minutes * MINUTE * CORES, declared


def test_every_notebook_is_in_the_list():
    readme = (run.HERE / "README.md").read_text(encoding="utf-8")
    assert not [path.stem for path in PATHS if f"`{path.stem}`" not in readme]
