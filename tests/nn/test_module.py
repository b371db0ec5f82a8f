"""Module: finding parameters, modes, moving, saving and loading."""

import importlib.util

import numpy as np
import pytest

from minivit.errors import BackendError, CheckpointError
from minivit.nn import Dropout, Linear, Module
from minivit.tensor import Tensor


class Tree(Module):
    """Parameters of its own, a child, a list of children, and things that are none of these."""

    def __init__(self, dtype="float32"):
        rng = np.random.default_rng(0)
        self.first = Linear(2, 3, rng, dtype)
        self.scale = Tensor(np.ones(2, dtype), requires_grad=True)
        self.table = Tensor(np.ones(9, dtype))  # does not learn
        self.branches = [Linear(3, 3, rng, dtype), "a string", Dropout(0.5), Linear(3, 1, rng, dtype)]
        self.nothing = None
        self.numbers = [1, 2, 3]


NAMES = [
    "scale",
    "first.weight",
    "first.bias",
    "branches.0.weight",
    "branches.0.bias",
    "branches.3.weight",
    "branches.3.bias",
]


def test_parameters_in_order_with_their_paths():
    tree = Tree()
    assert [name for name, _ in tree.named_parameters()] == NAMES
    assert dict(tree.named_parameters())["branches.3.bias"] is tree.branches[3].bias
    assert [id(p) for p in tree.parameters()] == [id(p) for _, p in tree.named_parameters()]
    assert tree.num_parameters() == 2 + (6 + 3) + (9 + 3) + (3 + 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_array_is_made_like_the_tensors(dtype):
    tree = Tree(dtype)
    pixels = np.arange(6, dtype="uint8").reshape(2, 3)
    like = tree.like(pixels)
    assert like.dtype == dtype
    assert like.tolist() == pixels.tolist()
    assert tree.like(like) is like
    inner = Module()
    inner.quiet, inner.layers = Dropout(0.5), [Dropout(0.5), Linear(2, 3, None, dtype)]  # the first has no Tensors
    assert inner.like([1, 2]).dtype == dtype
    with pytest.raises(ValueError, match="Dropout has no Tensors"):
        Dropout(0.5).like(pixels)


def test_children_by_name():
    tree = Tree()
    names = ["first", "branches.0", "branches.2", "branches.3"]
    assert [name for name, _ in tree.named_children()] == names
    assert dict(tree.named_children())["branches.2"] is tree.branches[2]


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_is_for_a_while(training):
    tree = Tree().train(training)
    seen = []

    def fail():
        with tree.evaluating():
            seen.append((tree.training, tree.branches[2].training))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [(False, False)]
    assert (tree.training, tree.branches[2].training) == (training, training)


def test_train_and_eval_reach_everything_and_return_the_module():
    tree = Tree()
    assert tree.training
    assert tree.branches[2].training
    assert tree.eval() is tree
    assert not any(m.training for m in (tree, tree.first, tree.branches[0], tree.branches[2]))
    assert tree.train() is tree
    assert all(m.training for m in (tree, tree.first, tree.branches[0], tree.branches[2]))
    assert not Tree().eval().branches[2].training
    assert Tree().training  # another module is not touched


def test_forward_is_for_subclasses():
    with pytest.raises(NotImplementedError):
        Module()(1)


def test_to_numpy_changes_nothing_but_forgets_gradients():
    tree = Tree()
    before = tree.state_dict()
    tree.scale.grad = np.ones(2)
    assert tree.to("numpy") is tree
    assert tree.scale.grad is None
    for name, array in tree.state_dict().items():
        assert array is before[name]


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
def test_to_cupy_without_cupy_says_how_to_install_it():
    tree = Tree()
    with pytest.raises(BackendError, match="pip install") as caught:
        tree.to("cupy")
    assert "\n" not in str(caught.value)
    assert all(type(p.data) is np.ndarray for p in tree.parameters())


@pytest.mark.parametrize("device", ["standin", "cupy"], indirect=True)
def test_a_module_goes_to_the_gpu_and_its_state_comes_back(device):
    tree, original = Tree(), Tree().state_dict()
    tree.scale.grad = np.ones(2)
    assert tree.to("cupy") is tree
    assert tree.scale.grad is None
    assert all(type(p.data) is device.ndarray for _, p in tree.named_tensors())
    tree.scale.data += 1
    for name, array in tree.state_dict().items():
        assert type(array) is np.ndarray
        np.testing.assert_array_equal(array, original[name] + (name == "scale"))
    tree.load_state_dict(original)
    assert type(tree.scale.data) is device.ndarray
    assert tree.to("numpy").scale.data.tolist() == [1, 1]


def test_to_an_unknown_backend():
    with pytest.raises(BackendError, match='unknown backend "tpu"'):
        Tree().to("tpu")


def test_state_round_trip_is_exact_and_copies():
    source, target = Tree("float64"), Tree("float64")
    rng = np.random.default_rng(1)
    for p in source.parameters():
        p.data[...] = rng.standard_normal(p.shape)
    arrays = [p.data for p in target.parameters()]
    target.load_state_dict(source.state_dict())
    for one, two, array in zip(source.parameters(), target.parameters(), arrays, strict=True):
        assert one.data.tobytes() == two.data.tobytes()
        assert two.data is array  # filled in place: optimisers and other holders see it
        assert two.data is not one.data
    assert list(source.state_dict()) == [NAMES[0], "table", *NAMES[1:]]  # frozen Tensors are state too


def test_loading_keeps_the_models_dtype():
    target = Tree("float32")
    state = Tree("float64").state_dict()
    state["scale"] = np.array([1 / 3, 2.0])
    target.load_state_dict(state)
    assert target.scale.dtype == "float32"
    assert target.scale.data[0] == np.float32(1 / 3)


def refused(tree, state):
    """The message with which `state` is refused; asserts that it is one line and that nothing was changed."""
    before = {name: array.copy() for name, array in tree.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        tree.load_state_dict(state, "run/checkpoint.npz")
    for name, array in tree.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("run/checkpoint.npz does not fit the model: ")
    return message


def test_a_state_that_does_not_fit_is_refused_with_lists():
    tree = Tree()
    state = {name: array + 1 for name, array in tree.state_dict().items()}
    del state["first.bias"], state["branches.3.weight"]
    state["stranger"] = np.zeros(1)
    state["scale"] = np.zeros((1, 2))
    message = refused(tree, state)
    assert "missing: first.bias, branches.3.weight; unexpected: stranger; " in message
    assert message.endswith("wrong shape: scale (1, 2), expected (2,)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": None}, "missing: scale"),
        ({"stranger": np.zeros(1)}, "unexpected: stranger"),
        ({"first.bias": np.zeros(1)}, r"wrong shape: first.bias (1,), expected (3,)"),
    ],
)
def test_each_kind_of_misfit_alone(change, message):
    tree = Tree()
    state = {name: array + 1 for name, array in tree.state_dict().items()} | change
    state = {name: array for name, array in state.items() if array is not None}
    assert refused(tree, state).endswith("model: " + message)


def test_long_lists_are_cut():
    message = refused(Tree(), {})
    assert message.endswith(", ".join([NAMES[0], "table", *NAMES[1:4]]) + " and 3 more")


def test_a_module_shows_what_is_in_it():
    assert repr(Tree()).splitlines() == [
        "Tree: 27 parameters and 9 frozen",
        "  first                  Linear, weight (2, 3), bias (3,)                     9",
        "  scale                  (2,)                                                 2",
        "  table                  (9,), frozen                                         9",
        "  branches.0             Linear, weight (3, 3), bias (3,)                    12",
        "  branches.2             Dropout                                              0",
        "  branches.3             Linear, weight (3, 1), bias (1,)                     4",
    ]
    assert repr(Linear(2, 3, None)) == "Linear: weight (2, 3), bias (3,), 9 parameters"
    assert repr(Module()) == "Module: 0 parameters"


def test_neighbours_that_are_alike_are_shown_once():
    class Stack(Module):
        def __init__(self):
            self.layers = [Linear(2, 2, None), Linear(2, 2, None), Linear(2, 2, None), "text", Linear(2, 2, None)]
            self.other = Linear(2, 2, None)

    stack = Stack()
    line = "Linear, weight (2, 2), bias (2,)                     6"
    assert repr(stack).splitlines() == [
        "Stack: 30 parameters",
        f"  layers.0 to 2, each    {line}",
        f"  layers.4               {line}",
        f"  other                  {line}",
    ]
    stack.layers[1].freeze()
    assert "  layers.1               Linear, frozen, weight (2, 2), bias (2,)" in repr(stack)
    assert repr(stack).startswith("Stack: 24 parameters and 6 frozen\n")
