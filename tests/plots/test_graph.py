"""The drawing of the tape: complete, true, and of boxes that do not lie over one another."""

import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from minivit import functional as F
from minivit import plots
from minivit.models import ResNet, ResNetConfig, ViT, ViTConfig
from minivit.plots.tape_graph import columns_of, kept_bytes
from minivit.tape import saved, tape
from minivit.tensor import Tensor, grad, lift, no_grad

SVG = "{http://www.w3.org/2000/svg}"


def loss_of(batch=3, recompute=False, **changes):
    """The loss of a small model on black images."""
    fields = {"image_size": 8, "patch_size": 4, "width": 8, "heads": 2, "num_classes": 3, "channels": 1}
    config = ViTConfig(**{**fields, "depth": 2, **changes})
    model = ViT(config).train()
    model.recompute_blocks = recompute  # makes one node of each block, which takes all its parameters
    logits = model(np.zeros((batch, 8, 8, 1), np.float32), rng=np.random.default_rng(0))
    return F.cross_entropy(logits, np.zeros(batch, int))


@pytest.fixture
def draw(tmp_path):
    """The elements of the drawing of a loss."""

    def run(loss, title="a step"):
        plots.computation_graph(loss, title, tmp_path / "graph.svg")
        return ET.parse(tmp_path / "graph.svg").getroot()

    return run


def texts(root, **attributes):
    found = [e for e in root.iter(f"{SVG}text") if all(e.get(k) == v for k, v in attributes.items())]
    return [e.text for e in found]


def boxes(root):
    """Left, top, right, bottom of everything with a border but the columns."""
    rectangles = [e for e in root.iter(f"{SVG}rect") if e.get("stroke") in ("#555", "#b08a3c")]
    sizes = [[float(e.get(name)) for name in ("x", "y", "width", "height")] for e in rectangles]
    return [(x, y, x + width, y + height) for x, y, width, height in sizes]


def test_every_op_of_a_model_without_equal_blocks_is_drawn(draw):
    loss = loss_of(depth=2)  # of the second block only the [class] row is computed
    root = draw(loss)
    assert texts(root, **{"font-size": "14"}) == [node.op for node in tape(loss)]
    shapes = texts(root, **{"font-size": "13", "font-weight": "normal"})[1:]
    assert shapes == [" × ".join(map(str, n.output_shape)) or "one number" for n in tape(loss)]
    assert texts(root, **{"font-size": "15"}) == ["embedding", "block 1", "block 2", "head"]


def test_a_branch_not_taken_leaves_no_array(draw):
    """gelu's vjp refers to a variable that only the tanh form assigns."""
    loss = loss_of(depth=2, gelu="erf")
    nodes = [node for node in tape(loss) if "gelu" in node.op]
    assert all("cdf" in " ".join(saved(node)) for node in nodes)
    assert texts(draw(loss), **{"font-size": "14"}) == [node.op for node in tape(loss)]


@pytest.mark.parametrize("classifier", ["token", "gap"])
def test_every_parameter_is_drawn_once(classifier, draw):
    loss = loss_of(depth=2, classifier=classifier, image_size=8)
    names = {t.name: t.shape for n in tape(loss) for t in n.inputs if isinstance(t, Tensor)}
    expected = [f"{re.sub(r'blocks.[0-9].', '', n)} {' × '.join(map(str, s))}" for n, s in names.items()]
    if classifier == "gap":  # both blocks are alike, and drawn as one
        expected = list(dict.fromkeys(expected))
    pills = [text for text in texts(draw(loss), **{"font-size": "12"}) if re.match("[a-z]", text)]
    assert sorted(p for p in pills if not p.startswith("data")) == sorted(expected)
    assert [p for p in pills if p.startswith("data")] == ["data 3 × 4 × 16", "data 3"]


def test_equal_blocks_share_a_column(draw):
    root = draw(loss_of(depth=5))
    assert texts(root, **{"font-size": "15"}) == ["embedding", "blocks 1 to 4, alike", "block 5", "head"]
    root = draw(loss_of(depth=5, classifier="gap"))
    assert texts(root, **{"font-size": "15"}) == ["embedding", "blocks 1 to 5, alike", "head"]
    # drop path is 0 at the first block, so that the others differ from it
    root = draw(loss_of(depth=5, classifier="gap", drop_path=0.2))
    assert texts(root, **{"font-size": "15"}) == ["embedding", "block 1", "blocks 2 to 5, alike", "head"]


def test_units_of_a_residual_network_have_columns_too(draw):
    hybrid = {"image_size": 32, "patch_size": 1, "channels": 3, "stem": (3, 1), "stem_width": 32}
    root = draw(F.mean(ViT(ViTConfig(width=8, depth=1, heads=2, **hybrid))(np.zeros((1, 32, 32, 3)))))
    stem = ["embedding", "stem unit 1", "stem units 2 to 3, alike", "stem unit 4"]
    assert texts(root, **{"font-size": "15"}) == [*stem, "embedding", "block 1", "head"]
    resnet = ResNet(ResNetConfig(units=(1, 2), width=4, groups=2, image_size=8, root="3x3"))
    root = draw(F.mean(resnet(np.zeros((1, 8, 8, 3)))))
    assert texts(root, **{"font-size": "15"}) == ["embedding", "unit 1", "unit 2", "unit 3", "head"]
    assert "conv3.weight 1 × 1 × 4 × 16" in texts(root, **{"font-size": "12"})


def test_blocks_of_other_ops_are_not_alike(draw):
    x = Tensor(np.ones(3), requires_grad=True, name="stem")
    scale = [Tensor(np.ones(3), requires_grad=True, name=f"blocks.{i}.scale") for i in range(4)]
    x = F.exp(x)
    for op, factor in zip((F.tanh, F.tanh, F.exp, F.exp), scale, strict=True):
        x = op(x * factor)
    root = draw((x * Tensor(np.ones(3), requires_grad=True, name="last")).sum())
    titles = ["embedding", "blocks 1 to 2, alike", "blocks 3 to 4, alike", "head"]
    assert texts(root, **{"font-size": "15"}) == titles


def test_a_graph_without_blocks_is_one_column(draw):
    x = Tensor(np.ones(3), requires_grad=True)
    assert texts(draw(F.exp(x * x).sum()), **{"font-size": "15"}) == ["ops"]


def many_inputs():
    """Two ops below one another, each of eight leaves."""
    leaves = [Tensor(np.ones(2), requires_grad=True, name=f"leaf{i}") for i in range(15)]
    return F.concat(F.concat(*leaves[:8], axis=0), *leaves[8:], axis=0).sum()


@pytest.mark.parametrize(
    "changes", [{"depth": 3}, {"recompute": True}, {"depth": 1, "dropout": 0.1}, {"classifier": "gap"}]
)
def test_no_box_lies_over_another_or_outside_the_page(changes, draw):
    root = draw(loss_of(**changes) if changes else many_inputs())
    width, height = float(root.get("width")), float(root.get("height"))
    found = boxes(root)
    for left, top, right, bottom in found:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    for a, b in itertools.combinations(found, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


def ends_of_arrows(root):
    """Where each line with a tip begins and ends."""
    ends = []
    for path in root.iter(f"{SVG}path"):
        if path.get("marker-end") and " h" not in path.get("d"):
            numbers = re.findall(r"([MHV])(-?\d+)(?:,(-?\d+))?", path.get("d"))
            x, y = float(numbers[0][1]), float(numbers[0][2])
            start = x, y
            for letter, value, _ in numbers[1:]:
                x, y = (float(value), y) if letter == "H" else (x, float(value))
            ends.append((start, (x, y)))
    return ends


def box_at(root, point, names):
    """The op whose box has the point on its border."""
    rectangles = [e for e in root.iter(f"{SVG}rect") if e.get("stroke") == "#555"]
    for rectangle, name in zip(rectangles, names, strict=True):
        x, y, width, height = (float(rectangle.get(k)) for k in ("x", "y", "width", "height"))
        if x <= point[0] <= x + width and y <= point[1] <= y + height:
            return name
    return "outside"


def test_a_line_leads_from_each_op_to_those_that_use_it(draw):
    a, b = Tensor(np.ones(3), requires_grad=True, name="a"), Tensor(np.ones(3), requires_grad=True, name="b")
    x = F.exp(a)
    y = F.tanh(x)
    z = F.log(b)
    w = y * z  # past log
    loss = (w + x).sum()  # past tanh, log and mul
    root = draw(loss)
    ops = [node.op for node in tape(loss)]
    assert ops == ["exp", "tanh", "log", "mul", "add", "sum"]
    lines = {(box_at(root, start, ops), box_at(root, end, ops)) for start, end in ends_of_arrows(root)}
    expected = {("exp", "tanh"), ("tanh", "mul"), ("log", "mul"), ("mul", "add"), ("exp", "add"), ("add", "sum")}
    assert lines == expected
    # two lines that pass the same op keep apart
    passing = [re.search(r"H(\d+) V", p.get("d")) for p in root.iter(f"{SVG}path") if p.get("d").count("H") == 2]
    assert len({match[1] for match in passing if match}) == 2


def test_the_residual_connections_of_a_block_are_there(draw):
    loss = loss_of(depth=3, classifier="gap")
    root = draw(loss)
    columns = columns_of(tape(loss))
    names = [f"{column.title}/{i}/{node.op}" for column in columns for i, node in enumerate(column.nodes)]
    lines = [(box_at(root, start, names), box_at(root, end, names)) for start, end in ends_of_arrows(root)]
    first, second = [name for name in names if name.startswith("blocks 1 to 3") and name.endswith("add")]
    assert ("outside", "blocks 1 to 3, alike/0/layer_norm") in lines
    assert ("outside", first) in lines
    assert (first, second) in lines
    assert len(lines) == sum(
        link is not None and not isinstance(link, Tensor) for c in columns for n in c.nodes for link in n.inputs
    )


def test_titles_are_text_not_markup(draw):
    assert texts(draw(loss_of(), "<b> & co"), **{"font-size": "20"}) == ["<b> & co"]


def test_nothing_recorded_is_an_error(draw):
    with no_grad(), pytest.raises(ValueError, match="nothing was recorded"):
        draw(loss_of())


def test_drawing_leaves_the_tape_as_it_was(draw):
    loss = loss_of()
    draw(loss)
    leaves = {id(t): t for n in tape(loss) for t in n.inputs if isinstance(t, Tensor)}
    assert len(grad(loss, list(leaves.values()))) == len(leaves)


# memory


def test_kept_bytes_count_each_array_once_and_no_parameter():
    w = Tensor(np.ones((4, 5)), requires_grad=True)
    x = np.ones((3, 4))
    y = F.linear(x, w, Tensor(np.ones(5), requires_grad=True))  # keeps x
    z = y * y  # keeps y (15 numbers), twice
    loss = (z * y.reshape(15).reshape(3, 5)).sum()  # keeps z, and a view of y
    kept = kept_bytes(tape(loss))
    by_op = [(node.op, kept[node.order] // 8) for node in tape(loss)]
    assert by_op == [("linear", 12), ("mul", 15), ("reshape", 0), ("reshape", 0), ("mul", 15), ("sum", 0)]


def test_kept_bytes_count_what_inner_functions_capture():
    def cube(x):
        y, square_vjp = square(x)

        def vjp(g):
            return (g * y + square_vjp(g * x)[0],)

        return x * y, vjp

    def square(x):
        double = 2 * x

        def vjp(g):
            return (g * double,)

        return x * x, vjp

    y = lift(cube)(Tensor(np.ones(3), requires_grad=True))
    assert kept_bytes(tape(y)) == {y.node.order: (3 + 3) * 8}  # y and double; x is the parameter


def test_the_sum_over_a_model_misses_nothing_that_its_nodes_saved(draw):
    loss = loss_of(batch=5, depth=3)
    owners = {}
    parameters = {id(t.data) for n in tape(loss) for t in n.inputs if isinstance(t, Tensor)}
    for node in tape(loss):
        for array in saved(node).values():
            while isinstance(array.base, np.ndarray):
                array = array.base
            owners[id(array)] = array
    total = sum(array.nbytes for key, array in owners.items() if key not in parameters)
    kept = sum(kept_bytes(tape(loss)).values())
    assert kept >= total > 1000
    assert f"in all {kept / 1000:.3g} kB" in texts(draw(loss), **{"font-size": "13"})[0]
