"""Swin: held to a recording of published code, to a slow second implementation, and each likely mistake is seen."""

import math
from pathlib import Path

import numpy as np
import pytest
from recordings import write_case, wrong_arrays
from swin_by_hand import SIZES, arrays, in_hub_names, in_timm_names, logits, norm

from minivit import functional as F
from minivit.errors import ConfigError
from minivit.lineage import swin, verify
from minivit.lineage.recorded import swin as recorded
from minivit.lineage.swin import VARIANTS, PatchMerging, Swin, SwinBlock, SwinConfig
from minivit.nn import windows as in_windows
from minivit.nn.windows import WindowAttention, relative_index, windows
from minivit.tensor import Tensor, grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "swin"
SQUARE = {4: [(4, 4), (4, 4)], 3: [(3, 3), (3, 3)]}
# code, changes of the sizes, windows of the tables per stage
OTHERS = {
    "divides": ("official", {"image_size": [16, 32]}, SQUARE[4]),
    "official, padded": ("official", {}, SQUARE[4]),
    "timm, padded": ("timm", {}, SQUARE[4]),
    "hf, padded": ("hf", {}, SQUARE[4]),
    "official, parts of patches and odd maps": ("official", {"image_size": [17, 25]}, SQUARE[4]),
    "hf, parts of patches and odd maps": ("hf", {"image_size": [17, 25]}, SQUARE[4]),
    "timm, odd maps": ("timm", {"image_size": [18, 26]}, SQUARE[4]),
    "official, one side in a window": ("official", {"image_size": [6, 28]}, [(3, 3), (2, 2)]),
    "timm, one side in a window": ("timm", {"image_size": [6, 28]}, [(3, 4), (2, 4)]),
    "hf, one side in a window": ("hf", {"image_size": [14, 28]}, SQUARE[4]),
    "official, always": ("official", {"image_size": [6, 28], "always_partition": True}, SQUARE[4]),
    "timm, always": ("timm", {"image_size": [6, 28], "always_partition": True}, SQUARE[4]),
    "timm, heads of 3": ("timm", {"head_dim": 3}, SQUARE[4]),
    "timm, windows of 4 x 3": ("timm", {"window_size": [4, 3]}, [(4, 3), (4, 3)]),
    "timm, three windows": (
        "timm", {"window_size": [4, 2, 3], "depths": [1, 2, 2], "num_heads": [1, 2, 2]}, [(4, 4), (2, 2), (3, 3)]
    ),
    "windows of 3, no biases": ("official", {"window_size": 3, "qkv_bias": False}, SQUARE[3]),
    "hf, another epsilon": ("hf", {"layer_norm_eps": 1e-2}, SQUARE[4]),
}  # fmt: skip


def own_case(folder, code, changes, tables, version=5, batch=2, positions=None):
    """A recording of the second implementation, in the names of one of the codes."""
    config, rng = {**SIZES, **changes}, np.random.default_rng(0)
    weights = arrays(config, rng, tables, positions)
    images = rng.standard_normal((batch, config["num_channels"], *config["image_size"]))
    labels = rng.integers(0, 3, batch)
    output = logits(weights, config, images, code, config.get("layer_norm_eps", 1e-5))
    likely = output - np.log(np.exp(output).sum(axis=1, keepdims=True))
    found = {"a/image": images, "a/labels": labels, "a/output": output}
    found["a/loss"] = -likely[range(batch), labels].mean()
    if code == "timm":
        weights = in_timm_names(weights)
        names = {"img_size": "image_size", "in_chans": "num_channels"}
        config = {**config, **{theirs: config[ours] for theirs, ours in names.items()}}
    named = in_hub_names(weights, version) if code == "hf" else weights
    return write_case(folder, "swin", config, named, found)


def small(seed=0, dtype="float64", **fields):
    shape = {"image_size": 16, "patch_size": 2, "width": 8, "depths": (2, 2), "heads": (2, 4), "window": 4}
    return Swin(SwinConfig(**{**shape, "num_classes": 3, "channels": 1, **fields}), seed, dtype)


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 19


@pytest.mark.parametrize("name", OTHERS)
def test_a_slow_implementation_agrees(tmp_path, name):
    case = own_case(tmp_path, *OTHERS[name])
    assert wrong_arrays(case) == []


def test_the_codes_differ_where_windows_do_not_divide(tmp_path):
    found = [own_case(tmp_path, code, {}, SQUARE[4]).arrays["a/output"] for code in ("official", "timm", "hf")]
    assert abs(found[0] - found[1]).max() > 1e-3
    assert np.array_equal(found[0], found[2])


def test_positions_may_be_added_and_names_be_of_version_4(tmp_path):
    case = own_case(tmp_path, "hf", {}, SQUARE[4], version=4, positions=140)
    w, rows = recorded.canonical(case.weights, "hf"), relative_index((4, 4), np)
    tiles = case.arrays["a/image"].reshape(2, 2, 10, 2, 14, 2)
    patches = np.einsum("bcrpkq,dcpq->brkd", tiles, w["patch_embed.proj.weight"]) + w["patch_embed.proj.bias"]
    first = norm(w, "patch_embed.norm", patches).reshape(2, 140, 4) + w["absolute_pos_embed"]
    bias = w["layers.1.blocks.0.attn.relative_position_bias_table"][rows].transpose(2, 0, 1)[None]
    case.arrays["a/tap/swin.embeddings"] = first
    case.arrays["a/tap/swin.encoder.layers.1.blocks.0.attention.relative_position_bias"] = bias
    assert wrong_arrays(case) == []
    assert recorded.build(case.config, case.weights).config.absolute


@pytest.mark.parametrize("code", ["timm", "hf"])
def test_outputs_of_modules_are_found_by_their_names(tmp_path, code):
    case = own_case(tmp_path, code, {}, SQUARE[4])
    w, images = recorded.canonical(case.weights, code), case.arrays["a/image"]
    tiles = images.reshape(2, 2, 10, 2, 14, 2)
    patches = (
        np.einsum("bcrpkq,dcpq->bdrk", tiles, w["patch_embed.proj.weight"]) + w["patch_embed.proj.bias"][:, None, None]
    )
    output, normed = case.arrays["a/output"], norm(w, "patch_embed.norm", np.moveaxis(patches, 1, -1))
    found = {"head": output, "head.fc": output, "patch_embed.proj": patches, "patch_embed": normed}
    if code == "hf":
        rows = np.moveaxis(patches, 1, -1).reshape(2, 140, 4)
        found = {"classifier": output, "swin.embeddings.patch_embeddings": rows}
        found["swin.embeddings"] = normed.reshape(2, 140, 4)
    case.arrays |= {f"a/tap/{name}": x for name, x in found.items()}
    assert wrong_arrays(case) == []


def test_constants_are_those_of_the_map_at_hand(tmp_path):
    case = own_case(tmp_path, "hf", {"image_size": [18, 22]}, SQUARE[4])
    case.config["image_size"] = [64, 64]
    label = np.zeros((12, 12))  # of a map of 9 x 11 places
    parts = (slice(0, -4), slice(-4, -2), slice(-2, None))
    for i, j in np.ndindex(3, 3):
        label[parts[i], parts[j]] = 3 * i + j
    cut = windows(Tensor(label[None, :, :, None]), (4, 4)).data[:, :, 0]
    mask = np.where(cut[:, None] == cut[:, :, None], 0, -100.0)
    at = "swin.encoder.layers.0.blocks"
    case.arrays |= {f"a/mask/{at}.1": mask, f"index/{at}.0.attention": relative_index((4, 4), np).reshape(-1)}
    assert wrong_arrays(case) == []
    case.arrays[f"a/mask/{at}.1"] = -mask
    assert wrong_arrays(case) == [f"a/mask/{at}.1"]


def test_transformers_fits_windows_to_the_map_at_hand(tmp_path):
    case = own_case(tmp_path, "hf", {"image_size": [14, 28]}, SQUARE[4])
    case.config["image_size"] = [64, 64]
    assert wrong_arrays(case) == []
    with pytest.raises(ConfigError, match="no table for windows of 2 places on a map of 2x8"):
        recorded.build(case.config, case.weights)(np.zeros((1, 4, 16, 2)))


# mistakes

real_within, real_bias, real_attend = SwinBlock.within, WindowAttention.forward, F.attend


def rolled_the_wrong_way(x, shifts, axes):
    return real_roll(x, tuple(-s for s in shifts), axes)


def rolled_back_the_wrong_way(x, shifts, axes):
    return real_roll(x, tuple(-abs(s) for s in shifts), axes)


def no_regions(size, window, shift, xp):
    return np.zeros((size[0] * size[1] // math.prod(window), math.prod(window), math.prod(window)), bool)


def two_regions(size, window, shift, xp):
    return real_apart(size, window, (0, shift[1]), xp)


def key_before_query(window, xp):
    return real_index(window, xp).T


def one_head_for_all(q, k, v, bias, **how):
    return real_attend(q, k, v, F.broadcast_to(bias[..., :1, :, :], bias.shape), **how)


def bias_before_scaling(q, k, v, bias, heads):
    return real_attend(q, k, v, bias * (q.shape[-1] // heads) ** -0.5, heads=heads)


def unscaled(q, k, v, bias, heads):
    return real_attend(q, k, v, bias, heads=heads, scale=1.0)


def rows_before_columns(self, x):
    x = F.concat(*[x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], axis=-1)
    return self.reduction(self.norm(x))


def never_moved(self, stage, moved, grid):
    return real_fitted(self, stage, False, grid)


real_roll, real_apart, real_index, real_fitted = F.roll, swin.regions_apart, relative_index, SwinConfig.fitted
WRONG = [
    (F, "roll", rolled_the_wrong_way),
    (F, "roll", rolled_back_the_wrong_way),
    (swin, "regions_apart", no_regions),
    (swin, "regions_apart", two_regions),
    (in_windows, "relative_index", key_before_query),
    (F, "attend", one_head_for_all),
    (F, "attend", bias_before_scaling),
    (F, "attend", unscaled),
    (PatchMerging, "forward", rows_before_columns),
    (SwinConfig, "fitted", never_moved),
]


@pytest.mark.parametrize(("place", "name", "mistake"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen_in_the_recording(monkeypatch, place, name, mistake):
    monkeypatch.setattr(place, name, mistake)
    assert "a/output" in wrong_arrays(verify.open_case(CASE))


def masks_before_windows(self, x, apart=None):
    """-100 in the order (window, image) instead of (image, window)."""
    if apart is not None:
        apart = np.repeat(apart, len(x.data) // len(apart), axis=0)
    return real_bias(self, x, apart)


def padding_unseen(self, x):
    """Added places are hidden from the others."""
    rows, columns = x.shape[1:3]
    inner = self.attention.forward
    hidden = F.pad(x * 0 + 1, ((0, 0), (0, -rows % 4), (0, -columns % 4), (0, 0)))
    if any(self.shift):
        hidden = F.roll(hidden, (-self.shift[0], -self.shift[1]), (1, 2))
    outside = windows(hidden, self.window).data[: len(hidden.data[0].reshape(-1, 16, hidden.shape[-1])), :, 0] == 0
    try:
        self.attention.forward = lambda y, apart=None: inner(y, outside[:, None] | (0 if apart is None else apart))
        return real_within(self, x)
    finally:
        self.attention.forward = inner


def zeros_before_the_norm(self, x, rng=None):
    rows, columns = x.shape[1:3]
    x = x + self.within(self.norm1(F.pad(x, ((0, 0), (0, -rows % 4), (0, -columns % 4), (0, 0)))))[:, :rows, :columns]
    return x + self.mlp(self.norm2(x), rng)


PADDED = [
    ("official, padded", WindowAttention, "forward", masks_before_windows),
    ("official, padded", SwinBlock, "within", padding_unseen),
    ("official, padded", SwinBlock, "forward", zeros_before_the_norm),
]


@pytest.mark.parametrize(("case", "place", "name", "mistake"), PADDED, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen_where_windows_do_not_divide(monkeypatch, tmp_path, case, place, name, mistake):
    recording = own_case(tmp_path, *OTHERS[case])
    monkeypatch.setattr(place, name, mistake)
    assert "a/output" in wrong_arrays(recording)


@pytest.mark.parametrize(("code", "other"), [("official", "timm"), ("timm", "official")])
def test_another_codes_padding_is_seen(tmp_path, code, other):
    case = own_case(tmp_path, code, {}, SQUARE[4])
    model = recorded.build(case.config, case.weights, padding=other)
    assert abs(model(case.images("a/image")).data - case.arrays["a/output"]).max() > 1e-3


# parts


@pytest.mark.parametrize(("moved", "seen"), [(False, (0, 4, 0, 4)), (True, (2, 6, 2, 6))])
def test_a_place_sees_its_window_and_nothing_from_the_opposite_border(moved, seen):
    """Of an 8 x 8 map with windows of 4: the place (2, 2), and when windows have moved, (0, 0)."""
    block = small().stages[0].blocks[1 if moved else 0]
    x = Tensor(np.random.default_rng(0).standard_normal((1, 8, 8, 8)), requires_grad=True)
    (d,) = grad(block(x)[0, 2, 2, 3], [x])
    top, bottom, left, right = seen
    assert np.array_equal(
        abs(d[0]).max(axis=-1) > 1e-20, np.pad(np.ones((4, 4), bool), ((top, 8 - bottom), (left, 8 - right)))
    )
    if moved:
        (d,) = grad(block(x)[0, 0, 0, 3], [x])
        assert abs(d[0, 2:]).max() < 1e-30 > abs(d[0, :, 2:]).max()
        assert abs(d[0, :2, :2]).min() > 0


@pytest.mark.parametrize(
    ("name", "fields", "count"),
    [
        ("swin-t", {}, 28_288_354),
        ("swin-s", {}, 49_606_258),
        ("swin-b", {}, 87_768_224),
        ("swin-l", {}, 196_532_476),
        ("swin-b-window12", {"image_size": 384}, 87_903_584),
    ],
)
@pytest.mark.parametrize("padding", ["official", "timm"])
def test_the_published_models_have_as_many_parameters(name, fields, count, padding):
    assert Swin(SwinConfig(**VARIANTS[name], **fields, padding=padding), None).num_parameters() == count


def test_the_last_stage_of_a_published_model_is_one_window():
    config = SwinConfig(**VARIANTS["swin-t"])
    assert config.grids == [(56, 56), (28, 28), (14, 14), (7, 7)]
    assert [config.fitted(i, True, grid) for i, grid in enumerate(config.grids)] == [((7, 7), (3, 3))] * 3 + [
        ((7, 7), (0, 0))
    ]


def test_blocks_are_left_out_at_rising_rates():
    model = small(drop_path=0.3).train()
    rates = [block.drop_path.rate for stage in model.stages for block in stage.blocks]
    assert np.allclose(rates, [0, 0.1, 0.2, 0.3])
    images = np.random.default_rng(0).standard_normal((6, 16, 16, 1))
    model.head.weight.data[...] = np.random.default_rng(1).standard_normal((16, 3))
    first, second = (model(images, rng=np.random.default_rng(seed)).data for seed in (0, 1))
    assert abs(first - second).max() > 1e-6
    assert np.array_equal(first, model(images, rng=np.random.default_rng(0)).data)


def test_recomputed_blocks_give_the_same_gradients():
    images, found = np.random.default_rng(0).standard_normal((2, 16, 16, 1)), []
    for on in (False, True):
        model = small()
        model.head.weight.data[...] = np.random.default_rng(1).standard_normal(model.head.weight.shape)
        model.recompute_blocks = on
        found.append(grad(F.cross_entropy(model(images), np.array([0, 2])), model.parameters()))
    assert all(np.allclose(a, b, rtol=1e-10, atol=1e-14) for a, b in zip(*found, strict=True))


def test_the_tap_sees_every_map():
    model, tap = small(num_classes=0), {}
    features = model(np.zeros((2, 16, 16, 1)), tap)
    assert {name: x.shape for name, x in tap.items()} == {
        "embeddings": (2, 8, 8, 8), "stage0/block0": (2, 8, 8, 8), "stage0/block1": (2, 8, 8, 8),
        "stage0/merging": (2, 4, 4, 16), "stage1/block0": (2, 4, 4, 16), "stage1/block1": (2, 4, 4, 16),
        "norm": (2, 4, 4, 16), "features": (2, 16),
    }  # fmt: skip
    assert features is tap["features"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depths": ()}, "both need a number for each stage"),
        ({"heads": (2,)}, "both need a number for each stage"),
        ({"windows": (4,)}, "both need a number for each stage"),
        ({"heads": (3, 4)}, "do not divide the widths"),
        ({"width": 0}, "at least 1"),
        ({"head_width": -1}, "at least 1"),
        ({"padding": "torch"}, 'padding is "torch", expected one of official, timm, hf'),
        ({"gelu": "quick"}, "gelu"),
        ({"window": (4, 3)}, "windows of padding official are square"),
        ({"image_size": 15, "padding": "timm"}, "whole patches"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"depths": "2,2"}, "depths is '2,2', expected a list of int"),
    ],
)
def test_what_is_no_swin_is_refused_in_one_line(wrong, message):
    with pytest.raises(ConfigError, match=message) as caught:
        small(**wrong)
    assert "\n" not in str(caught.value)
