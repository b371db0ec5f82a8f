"""Axial attention: held to a recording of one layer and to a slow second implementation, also of the network."""

from pathlib import Path

import axial_by_hand as slow
import numpy as np
import pytest
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import axial, verify
from minivit.lineage.axial import VARIANTS, AxialAttention, AxialConfig, AxialResNet
from minivit.lineage.recorded import axial as recorded
from minivit.models.archive import write_safetensors
from minivit.tensor import Tensor

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "axial"
MODES = ("eval", "train", "paper")


def test_the_recording():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 33


@pytest.mark.parametrize(
    ("config", "size", "span"),
    [
        ({"groups": 1, "axis": "width", "stride": 2}, (4, 6), 6),
        ({"groups": 4}, (3, 2), 3),
        ({"groups": 2, "axis": "width"}, (2, 3), 5),
        ({"groups": 2, "stride": 2}, (4, 4), 4),
    ],
    ids=["one group, width, stride", "four groups", "a span longer than the axis", "height, stride"],
)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, config, size, span):
    rng = np.random.default_rng(0)
    w, x = slow.arrays(rng, 3, 8, config["groups"], span), rng.normal(size=(2, 3, *size))
    rest = {name: value for name, value in config.items() if name != "groups"}
    found, after = {"x": x}, {}
    for mode in MODES:
        y, weights = slow.layer(x, w, config["groups"], mode, **rest, after=after)
        g = rng.normal(size=y.shape)
        parts = {"output": y, "weights": weights, "cotangent": g, "loss": np.array((y * g).sum())}
        found |= {f"{mode}/{name}": value for name, value in parts.items()}
    assert len(after) == 6
    found |= {f"after/{name}": value for name, value in after.items()}
    case = write_case(tmp_path, "axial", config, w, found)
    assert wrong_arrays(case) == []
    for mode in MODES:
        check_gradients(case, mode, w, rest)


def test_the_kernel_may_be_that_of_a_conv1d():
    case = verify.open_case(CASE)
    for arrays in (case.weights, case.arrays):
        for name in [name for name in arrays if name.endswith("qkv_transform.weight")]:
            arrays[name] = arrays[name][:, :, None]
    assert wrong_arrays(case) == []


def check_gradients(case, mode, w, rest):
    """Along one direction through all parameters and the image, against differences."""
    found, rng, e = recorded.recompute(case), np.random.default_rng(1), 1e-5
    x, groups, g = case.arrays["x"], case.config["groups"], case.arrays[f"{mode}/cotangent"]
    learned = [name for name in w if "running" not in name and (mode != "paper" or "bn" not in name)]
    way = {name: rng.normal(size=w[name].shape) for name in learned} | {"x": rng.normal(size=x.shape)}
    losses = []
    for s in (e, -e):
        moved = {name: a + s * way[name] if name in way else a for name, a in w.items()}
        losses.append((slow.layer(x + s * way["x"], moved, groups, mode, **rest)[0] * g).sum())
    along = sum((found[f"{mode}/grad/{name}"] * way[name]).sum() for name in learned)
    along += (found[f"{mode}/grad_input/x"] * way["x"]).sum()
    assert along == pytest.approx((losses[0] - losses[1]) / (2 * e), rel=1e-5)


real_by_place, real_concat, real_softmax, real_places = axial.by_place, F.concat, F.softmax, AxialAttention.places


def queries_index_for_keys(x, table):
    """r^k is also numbered query - key: for keys, the first of whose places is the key."""
    of_keys = table.shape[1] < table.shape[2] and not queries_index_for_keys.first
    queries_index_for_keys.first = not queries_index_for_keys.first if table.shape[1] < table.shape[2] else True
    return real_by_place(x, table.transpose(2, 1, 0) if of_keys else table)


queries_index_for_keys.first = True


def key_minus_query(self, length):
    return real_places(self, length).T


def grouped_by_head(*parts, axis):
    """The three parts of a head's scores side by side."""
    if axis != 1:
        return real_concat(*parts, axis=axis)
    return real_concat(*(part[:, h : h + 1] for h in range(parts[0].shape[1]) for part in parts), axis=1)


def places_first(*parts, axis):
    return real_concat(*(parts[::-1] if axis == -1 else parts), axis=axis)


def values_then_places(*parts, axis):
    """All v of a row, then all places, in place of one by one."""
    if axis != -1:
        return real_concat(*parts, axis=axis)
    joined = real_concat(*parts, axis=-1)
    return joined.transpose(0, 1, 2, 4, 3).reshape(*joined.shape)


def over_queries(x):
    return real_softmax(x, axis=-2)


def scaled(x):
    return real_softmax(x * 0.5)


WRONG = [
    (axial, "by_place", queries_index_for_keys, "paper/weights"),
    (AxialAttention, "places", key_minus_query, "paper/weights"),
    (F, "concat", grouped_by_head, "eval/weights"),
    (F, "concat", places_first, "train/grad/bn_output.weight"),
    (F, "concat", values_then_places, "eval/output"),
    (F, "softmax", over_queries, "paper/output"),
    (F, "softmax", scaled, "paper/weights"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


def test_an_axis_longer_than_the_span_is_refused():
    layer = AxialAttention(2, 4, 1, 3, np.random.default_rng(0))
    with pytest.raises(ValueError, match="4 pixels along the height, at most 3"):
        layer(Tensor(np.zeros((1, 4, 2, 2), "float32")))


def test_one_pair_of_layers_sees_every_pixel_and_one_layer_its_column():
    rng = np.random.default_rng(0)
    pair = [AxialAttention(2, 4, 1, 4, rng, "float64", "height"), AxialAttention(4, 4, 1, 5, rng, "float64", "width")]
    x = rng.normal(size=(1, 4, 5, 2))
    moved = x.copy()
    moved[0, 2, 3] += 1
    first = [layer.eval()(Tensor(a)).data for layer in pair[:1] for a in (x, moved)]
    second = [pair[1].eval()(Tensor(a)).data for a in first]
    assert np.array_equal(np.abs(first[1] - first[0]).max(axis=(0, 1, 3)) > 1e-12, [False] * 3 + [True, False])
    assert (np.abs(second[1] - second[0]).max(axis=-1) > 1e-12).all()


def test_the_published_number_of_parameters():
    network = AxialResNet(AxialConfig(**VARIANTS["axial-26s"]), None)
    assert round(network.num_parameters() / 1e6, 1) == 5.9
    w = slow.network_arrays(np.random.default_rng(0), (1, 2, 4, 1), 32, 8, (224, 224), 1000)
    state = ("running_mean", "running_var", "num_batches_tracked", "flatten_index")
    assert network.num_parameters() == sum(x.size for name, x in w.items() if not name.endswith(state)) == 5_944_936


@pytest.mark.parametrize(
    ("name", "count"), [("axial-50s", 11_586_216), ("axial-50m", 25_179_400), ("axial-50l", 43_973_480)]
)
def test_as_many_parameters_as_the_published_code_counts(name, count):
    assert AxialResNet(AxialConfig(**VARIANTS[name]), None).num_parameters() == count


def test_published_weights_are_read(tmp_path):
    units, rng = (1, 2), np.random.default_rng(0)
    w = slow.network_arrays(rng, units, 4, 2, (16, 8), 3)
    write_safetensors(tmp_path / "axial.safetensors", {f"module.{name}": x for name, x in w.items()}, {})
    network = recorded.open_pretrained(tmp_path / "axial.safetensors", "float64").eval()
    assert network.config == AxialConfig(units=units, width=4, heads=2, image_size=(16, 8), num_classes=3)
    images = rng.normal(size=(2, 3, 16, 8))
    expected = slow.network(images, w, units, 2)
    tap = {}
    assert np.allclose(network(np.moveaxis(images, 1, -1), tap=tap).data, expected, rtol=0, atol=1e-12)
    assert list(tap) == ["root", "unit0", "unit1", "unit2", "features"]


def test_other_files_are_refused(tmp_path):
    w = slow.network_arrays(np.random.default_rng(0), (1,), 4, 2, (8, 8), 3)
    write_safetensors(tmp_path / "a.safetensors", {n: x for n, x in w.items() if "bn_output" not in n}, {})
    with pytest.raises(CheckpointError, match=r"missing: layer1\.0\.hight_block\.bn_output"):
        recorded.open_pretrained(tmp_path / "a.safetensors")
    write_safetensors(tmp_path / "b.safetensors", {"fc.weight": np.zeros((3, 4))}, {})
    with pytest.raises(CheckpointError, match=r"it has no conv1\.weight"):
        recorded.open_pretrained(tmp_path / "b.safetensors")


@pytest.mark.parametrize("wrong", [{"width": 12}, {"heads": 0}, {"image_size": 100}])
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AxialConfig(**wrong)
    with pytest.raises(ConfigError, match="twice the 2 heads"):
        AxialAttention(4, 6, 2, 3, None)
