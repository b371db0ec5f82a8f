"""The stepper against the engine: the same cotangents, step by step, and a tape left as it was."""

import inspect
import linecache

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import seeds

from minivit import functional as F
from minivit.models import ViT, ViTConfig
from minivit.nn.recompute import recompute
from minivit.stepper import BackwardStepper
from minivit.tensor import Tensor, grad, lift, no_grad


def doubled_twice():
    """b = a + a, c = b + b: the smallest graph whose order matters."""
    a = Tensor(3.0, requires_grad=True, name="a")
    b = a + a
    return a, b, b + b


def random_graph(seed):
    """Leaves, and the sum of the last of a dozen ops on earlier results, which are shared and broadcast."""
    rng = np.random.default_rng(seed)
    shapes = [(), (3,), (1, 3), (2, 1), (2, 3)]
    leaves = [Tensor(rng.uniform(-1, 1, shape), requires_grad=True) for shape in shapes]
    results = list(leaves)
    for _ in range(12):
        x, y = (results[i] for i in rng.integers(0, len(results), 2))
        op = [F.add, F.mul, F.sub, F.maximum, lambda x, _: F.tanh(x), lambda x, _: x.mean(keepdims=True)]
        results.append(op[rng.integers(0, len(op))](x, y))
    return leaves, results[-1]


def vit_loss(**changes):
    config = ViTConfig(
        **{"image_size": 8, "patch_size": 4, "width": 8, "depth": 2, "heads": 2, "num_classes": 3, "channels": 1}
        | changes
    )
    model = ViT(config).train()
    rng = np.random.default_rng(0)
    for tensor in model.parameters():
        tensor.data[...] = rng.normal(size=tensor.shape)  # the head begins with zeros
    images = rng.random((3, 8, 8, 1), dtype=np.float32)
    return list(model.parameters()), F.cross_entropy(model(images, rng=rng), np.array([0, 2, 1]))


def last_frame(stepper):
    return stepper.frame(len(stepper))


def equals_grad(leaves, loss, g=None):
    """Whether the end of the stepper is what `grad` finds, bit for bit."""
    frame = last_frame(BackwardStepper(loss, g))
    reached = [leaf for leaf in leaves if leaf in frame.accumulated]
    assert reached
    unreached = [leaf for leaf in leaves if leaf not in frame.accumulated]
    for leaf, expected in zip(reached, grad(loss, reached, g), strict=True):
        found = frame.cotangent_of(leaf)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, strict=True)
    return unreached


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_the_end_is_the_gradient_of_any_graph(seed):
    leaves, result = random_graph(seed)
    if result.node is None:
        return
    g = np.random.default_rng(seed).normal(size=result.shape)
    equals_grad(leaves, result, g)


@pytest.mark.parametrize("changes", [{}, {"classifier": "gap", "dropout": 0.1}, {"depth": 3}])
def test_the_end_is_the_gradient_of_a_vit(changes):
    parameters, loss = vit_loss(**changes)
    assert not equals_grad(parameters, loss)


def test_intermediate_results_and_intermediate_steps():
    a, b, c = doubled_twice()
    stepper = BackwardStepper(c)
    assert [stepper.frame(i).cotangent_of(b) for i in range(3)] == [None, 2, 2]
    assert [stepper.frame(i).cotangent_of(a) for i in range(3)] == [None, None, 4]
    assert grad(c, [b, a]) == [2, 4]


def test_a_vjp_runs_after_all_portions_have_arrived():
    x = Tensor(np.arange(3.0), requires_grad=True)
    y = F.exp(x)
    stepper = BackwardStepper(F.sum(F.tanh(y) * y), values={"y": y})
    assert stepper.portions[y.node] == 2
    assert next(line for line in stepper.text(2).splitlines() if "adds up" in line).endswith("(1 of 2 portions)")
    assert next(line for line in stepper.text(3).splitlines() if "adds up" in line).endswith("(2 of 2 portions)")
    arrived = [stepper.frame(i).arrived.get(y.node, 0) for i in range(len(stepper) + 1)]
    assert arrived == [0, 0, 1, 2, 2]  # from mul, then from tanh
    for i in range(1, len(stepper) + 1):
        frame = stepper.frame(i)
        assert frame.arrived[frame.node] == stepper.portions[frame.node]
        assert frame.cotangent_in is stepper.frame(i - 1).accumulated[frame.node]


def test_a_frame_tells_what_its_vjp_took_and_gave():
    x = Tensor(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), requires_grad=True, name="x")
    w = Tensor(np.array([2.0, 0.0, 1.0]), requires_grad=True, name="w")
    y = x * w
    frame = BackwardStepper(y, np.ones((2, 3)), {"y": y}).forward()
    assert (frame.position, frame.op, frame.node) == (1, "mul", y.node)
    assert [(a.parameter, a.label, a.shape, a.link) for a in frame.inputs] == [
        ("x", "x", (2, 3), x),
        ("y", "w", (3,), w),
    ]
    assert frame.inputs[0].value is x.data
    assert frame.returned_shapes == ((2, 3), (2, 3))
    np.testing.assert_array_equal(frame.cotangents_out[0], [[2, 0, 1], [2, 0, 1]])
    np.testing.assert_array_equal(frame.cotangents_out[1], [5, 7, 9])
    assert frame.saved.keys() == {"x", "y"}
    assert frame.saved["y"] is w.data


def test_the_source_is_that_of_the_vjp():
    def triple(x):
        factor = 3

        def vjp(g):
            return (g * factor,)

        return x * factor, vjp

    y = lift(triple)(Tensor(2.0, requires_grad=True))
    frame = BackwardStepper(y).forward()
    _, line = inspect.getsourcelines(triple)
    assert frame.source == "def vjp(g):\n    return (g * factor,)"
    assert (frame.source_file, frame.source_line) == ("test_stepper.py", line + 3)
    assert frame.returned == ("(g * factor,)",)
    assert frame.saved == {"factor": 3}
    frame = BackwardStepper(F.exp(y)).forward()
    assert frame.source_file == "minivit/ops/functions.py"


TWICE = "def twice(x):\n    def vjp(g):\n        return (2 * g,)\n    return 2 * x, vjp\n"


def test_texts_alike_in_two_files_are_told_apart(tmp_path):
    for name in ("one.py", "other.py"):
        names = {}
        (tmp_path / name).write_text(TWICE, encoding="utf-8")
        exec(compile(TWICE, tmp_path / name, "exec"), names)
        frame = BackwardStepper(lift(names["twice"])(Tensor(1.0, requires_grad=True))).forward()
        assert (frame.source_file, frame.source_line, frame.returned) == (name, 2, ("(2 * g,)",))


def test_a_cell_of_a_notebook_has_no_file():
    names = {}
    linecache.cache["/somewhere/123.py"] = len(TWICE), None, TWICE.splitlines(keepends=True), "/somewhere/123.py"
    exec(compile(TWICE, "/somewhere/123.py", "exec"), names)
    frame = BackwardStepper(lift(names["twice"])(Tensor(1.0, requires_grad=True))).forward()
    assert frame.source.startswith("def vjp(g):")
    assert frame.source_file == "notebook cell"


def test_code_without_a_text():
    names = {}
    exec(TWICE, names)
    result = lift(names["twice"])(Tensor(1.0, requires_grad=True))
    frame = BackwardStepper(result).forward()
    assert (frame.source, frame.source_file, frame.returned) == ("", "", ())
    assert frame.inputs[0].parameter == "x"
    assert "not to be had" in BackwardStepper(result).text(1)


def test_what_inner_functions_return_is_not_what_the_vjp_returns():
    def clipped(x):
        def vjp(g):
            def bounded(value):
                return min(max(value, -1), 1)

            if g.ndim:
                return (np.vectorize(bounded)(g),)
            return (bounded(g) * np.ones(()),)

        return x * 1, vjp

    frame = BackwardStepper(lift(clipped)(Tensor(1.0, requires_grad=True))).forward()
    assert frame.returned == ("(np.vectorize(bounded)(g),)", "(bounded(g) * np.ones(()),)")


def test_a_vjp_that_is_no_function():
    class Twice:
        def __call__(self, g):
            return (2 * g,)

    def twice(x):
        return 2 * x, Twice()

    x = Tensor(1.0, requires_grad=True, name="x")
    stepper = BackwardStepper(lift(twice)(x))
    assert last_frame(stepper).cotangent_of(x) == 2
    assert stepper.frame(1).inputs[0].parameter == "0"


def test_back_and_forward_give_the_same_frames():
    ran = []

    def noted(x):
        def vjp(g):
            ran.append(1)
            return (g,)

        return x.copy(), vjp

    note = lift(noted)
    stepper = BackwardStepper(note(note(note(Tensor(1.0, requires_grad=True)))))
    assert not ran
    assert stepper.position == 0
    first = stepper.forward()
    second = stepper.forward()
    assert stepper.back() is first
    assert stepper.forward() is second
    assert stepper.go_to(0).node is None
    assert stepper.back().position == 0
    assert stepper.go_to(2) is second
    assert len(ran) == 2
    assert [stepper.forward().position, stepper.forward().position, len(stepper)] == [3, 3, 3]
    assert len(ran) == 3  # each once


@pytest.mark.parametrize("position", [-1, 3])
def test_a_position_outside(position):
    stepper = BackwardStepper(doubled_twice()[2])
    with pytest.raises(IndexError, match=rf"position {position}: .* 0 to 2"):
        stepper.go_to(position)
    assert stepper.position == 0


def test_frames_stay_as_they_were():
    """The engine adds into cotangents; the stepper must not."""
    _, loss = random_graph(3)
    stepper = BackwardStepper(loss, np.ones(loss.shape))
    seen = []
    for i in range(len(stepper) + 1):
        seen.append({link: array.copy() for link, array in stepper.frame(i).accumulated.items()})
    for i, arrays in enumerate(seen):
        for link, array in arrays.items():
            np.testing.assert_array_equal(stepper.frame(i).accumulated[link], array)


@pytest.mark.parametrize("steps", [0, 3, 11])
def test_the_tape_is_unharmed(steps):
    parameters, loss = vit_loss()
    again, expected = vit_loss()
    expected.backward()
    stepper = BackwardStepper(loss)
    stepper.go_to(steps)
    loss.backward()
    for p, q in zip(parameters, again, strict=True):
        np.testing.assert_array_equal(p.grad, q.grad)
    for p in parameters:  # and the stepper goes on when the tape is used up
        np.testing.assert_array_equal(last_frame(stepper).cotangent_of(p), p.grad)


def test_a_recomputed_block_is_one_step():
    w = Tensor(np.array([2.0, 3.0]), requires_grad=True)
    x = Tensor(np.array([1.0, -1.0]), requires_grad=True)
    loss = F.sum(recompute(lambda x, rng: F.tanh(x * w), x, [w]))
    assert len(BackwardStepper(loss)) == 2
    equals_grad([x, w], loss)


# refused


def test_nothing_recorded():
    a, b, _ = doubled_twice()
    with no_grad():
        c = a + b
    for tensor in (a, c, Tensor(1.0)):
        with pytest.raises(ValueError, match="nothing was recorded"):
            BackwardStepper(tensor)


def test_a_tape_that_was_used_up():
    _, _, c = doubled_twice()
    c.backward()
    with pytest.raises(ValueError, match=r"used up .* run the forward pass again"):
        BackwardStepper(c)


def test_a_cotangent_of_the_wrong_shape():
    x = Tensor(np.ones(3), requires_grad=True) * 2.0
    with pytest.raises(ValueError, match=r"^BackwardStepper: loss .* pass g, a cotangent of that shape"):
        BackwardStepper(x)
    with pytest.raises(ValueError, match=r"^BackwardStepper: the cotangent g has shape \(2,\), the loss \(3,\)"):
        BackwardStepper(x, np.ones(2))


def test_a_value_that_is_not_on_the_tape():
    _, _, c = doubled_twice()
    with pytest.raises(ValueError, match="stranger in values is not on the tape"):
        BackwardStepper(c, values={"stranger": Tensor(1.0, requires_grad=True)})


def test_gradients_that_do_not_fit():
    def bad(x):
        return x * 1.0, lambda g: (np.ones(7),)

    stepper = BackwardStepper(lift(bad)(Tensor(np.ones(3), requires_grad=True)), np.ones(3))
    with pytest.raises(ValueError, match=r"gradient 0 has shape \(7,\), its argument \(3,\)"):
        stepper.forward()
    assert stepper.position == 0


# text


def test_the_text_of_a_known_graph():
    _, b, c = doubled_twice()
    stepper = BackwardStepper(c, values={"b": b, "c": c})
    assert stepper.text(0) == "Before the first of 2 steps: only c has its cotangent\ngiven      at c: g = 1\n"
    line = inspect.getsourcelines(__import__("minivit.ops.arithmetic", fromlist=["add"]).add)[1] + 4
    assert stepper.text(1).splitlines() == [
        "Step 1 of 2: the vjp of add runs, which made c",
        "comes in   g = 1   (its only portion has arrived)",
        f"source     minivit/ops/arithmetic.py, line {line}",
        "           | def vjp(g):",
        "           |     return g, g",
        "returns    g, g",
        "goes out   to b: 1   (argument x of add)",
        "goes out   to b: 1   (argument y of add)",
        "adds up    at b: g = 2   (2 of 2 portions)",
    ]
    assert "(all 2 portions have arrived)" in stepper.text(2)
    assert "adds up    at a: g = 4   (2 of 2 portions)" in stepper.text(2)
    stepper.forward()
    assert repr(stepper) == stepper.text() == stepper.text(1)


def test_the_text_of_arrays():
    x = Tensor(np.array([[1.0, -2.0], [0.0, 1e-9]]), requires_grad=True, name="x")
    w = Tensor(np.full((2, 20), 3.0), requires_grad=True, name="w")
    bias = Tensor(np.zeros(20), requires_grad=True)
    stepper = BackwardStepper(F.sum(x @ w + bias))
    sums = "(argument y of add; the engine sums (2, 20) to (20,))"
    assert f"goes out   to leaf 1: (20,) norm 8.94   {sums}" in stepper.text(2)
    lines = stepper.text(3).splitlines()
    assert lines[0] == "Step 3 of 3: the vjp of matmul (op 1 of 3) runs"
    at = lines.index("saved      x of matmul = (2, 2)   (it is x)")
    assert lines[at + 1 : at + 3] == ["             [1 -2]", "             [0 1e-09]"]
    assert "goes out   to w: (2, 20) norm 10   (argument y of matmul)" in lines


def test_names_of_the_reader_are_told_from_those_of_the_op():
    x = Tensor(np.array(2.0), requires_grad=True, name="x")
    y = F.tanh(x)
    stepper = BackwardStepper(y * x, values={"y": y})  # mul(x, y), called with our y and x
    lines = stepper.text(1).splitlines()
    assert "saved      x of mul = 0.964   (it is y)" in lines
    assert "goes out   to y: 2   (argument x of mul)" in lines
    assert "goes out   to x: 0.964   (argument y of mul)" in lines
    lines = stepper.text(2).splitlines()
    assert "saved      y of tanh = 0.964" in lines  # its result, no argument
    assert "goes out   to x: 0.141" in lines  # its only argument needs no name


def test_a_leaf_without_a_name_is_given_none_of_the_reader():
    named, first, second, last = (Tensor(1.0, requires_grad=True, name=n) for n in ("leaf 1", None, None, None))
    stepper = BackwardStepper(named * first * second * last, values={"leaf 3": second})
    assert [stepper.label(leaf) for leaf in (named, first, second, last)] == ["leaf 1", "leaf 2", "leaf 3", "leaf 5"]


def test_what_takes_no_gradient_is_said():
    x = Tensor(np.ones(2), requires_grad=True, name="x")
    assert "nothing    to argument y of mul: no gradient wanted" in BackwardStepper(x * 2.0, np.ones(2)).text(1)


@pytest.mark.filterwarnings("error")
def test_the_derivative_at_a_pole_is_infinite_without_a_warning():
    stepper = BackwardStepper(F.sqrt(Tensor(0.0, requires_grad=True, name="x")))
    assert "inf" in stepper.text(1)


def test_what_is_no_tensor_is_refused_by_name():
    x = Tensor(2.0, requires_grad=True)
    with pytest.raises(TypeError, match="loss is a float, expected a Tensor"):
        BackwardStepper(3.0)
    with pytest.raises(TypeError, match=r"values is a list, expected names: \{\"a\": a\}"):
        BackwardStepper(x * x, values=[x])
    with pytest.raises(TypeError, match="y is a ndarray, expected a Tensor"):
        BackwardStepper(x * x, values={"y": (x * x).data})


def test_frames_of_positions_that_do_not_exist_are_refused():
    x = Tensor(2.0, requires_grad=True)
    with pytest.raises(IndexError, match="positions 0 to 1"):
        BackwardStepper(x * x).frames([0, 9])
