"""NaFlexViT: held to a recording of timm's code and to a slow implementation; each likely mistake is seen."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from recordings import write_case, wrong_arrays
from sizes_by_hand import (
    block,
    block_shapes,
    cross_entropy,
    dense,
    drawn,
    map_pool,
    norm,
    patches_of,
    pool_shapes,
    resized,
    slopes,
)

from minivit import functional as F
from minivit.errors import ConfigError
from minivit.lineage import naflexvit, verify
from minivit.lineage.naflexvit import VARIANTS, NaFlexViT, NaFlexViTConfig, filled
from minivit.lineage.recorded import naflexvit as recorded
from minivit.tensor import Tensor

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "naflexvit"
BASE = {
    "patch_size": 2, "embed_dim": 8, "depth": 2, "num_heads": 2, "pos_embed": "learned", "pos_embed_grid_size": [3, 4],
    "global_pool": "avg", "reg_tokens": 2, "class_token": False,
}  # fmt: skip
OTHERS = {
    "factorized": {"pos_embed": "factorized"},
    "factorised, aspect": {"pos_embed": "factorized", "pos_embed_ar_preserving": True},
    "aspect": {"pos_embed_ar_preserving": True},
    "no positions": {"pos_embed": "none"},
    "nothing before the patches": {"reg_tokens": 0},
    "class token": {"class_token": True, "global_pool": "token", "norm": True, "fc_norm": False},
    "mean with all tokens": {"class_token": True, "pool_include_prefix": True},
    "attention pooling": {"global_pool": "map", "norm": True, "fc_norm": False, "reg_tokens": 1},
    "attention pooling of all": {"global_pool": "map", "norm": True, "fc_norm": True, "pool_include_prefix": True},
    "attention pooling of its own size": {
        "global_pool": "map",
        "norm": True,
        "fc_norm": False,
        "attn_pool_num_heads": 4,
        "pool_hidden": 20,
    },
    "maximum": {"global_pool": "max"},
    "mean and maximum": {"global_pool": "avgmax", "class_token": True},
    "both norms": {"norm": True, "fc_norm": True},
    "padding hidden as a key": {"use_key_only_attn_mask": True},
    "LayerScale, QK-norm, no biases": {"scales": True, "qk_norm": True, "qkv_bias": False},
    "a norm before the blocks": {"pre_norm": True},
    "bilinear": {"pos_embed_interp_mode": "bilinear"},
    "sampled": {"pos_embed_use_grid_sample": True},
}
SIZES = [(6, 10), (8, 4), (2, 2)]
TINY = {
    "image_size": 8, "patch_size": 4, "base_grid": 3, "width": 8, "depth": 1, "heads": 2, "mlp_width": 8,
    "num_classes": 0, "channels": 1,
}  # fmt: skip


def arrays(c, width=8, hidden=12, channels=3, classes=3):
    pixels, (rows, columns) = channels * c["patch_size"] ** 2, c["pos_embed_grid_size"]
    shapes = {"embeds.proj.weight": (width, pixels), "head.weight": (classes, width), "head.bias": (classes,)}
    if c.get("pre_norm"):
        shapes |= {"norm_pre.weight": (width,), "norm_pre.bias": (width,)}
    else:
        shapes["embeds.proj.bias"] = (width,)
    if c["pos_embed"] == "learned":
        shapes["embeds.pos_embed"] = (1, rows, columns, width)
    elif c["pos_embed"] == "factorized":
        shapes |= {"embeds.pos_embed_y": (1, rows, width), "embeds.pos_embed_x": (1, columns, width)}
    shapes |= {"embeds.cls_token": (1, 1, width)} if c["class_token"] else {}
    shapes |= {"embeds.reg_token": (1, c["reg_tokens"], width)} if c["reg_tokens"] else {}
    for name, default in (("norm", False), ("fc_norm", True)):
        shapes |= {f"{name}.{leaf}": (width,) for leaf in ("weight", "bias")} if c.get(name, default) else {}
    for i in range(c["depth"]):
        qk = width // c["num_heads"] if c.get("qk_norm") else 0
        shapes |= block_shapes(f"blocks.{i}", width, hidden, c.get("qkv_bias", True), qk, c.get("scales", False))
    shapes |= pool_shapes(width, c.get("pool_hidden", hidden)) if c["global_pool"] == "map" else {}
    return drawn(shapes)


def by_hand(w, c, image):
    """Logits of one image (height, width, C), which is never padded."""
    cut = patches_of(image, (c["patch_size"],) * 2)
    grid = cut.shape[:2]
    x = dense(cut, w, "embeds.proj")
    size = (max(grid),) * 2 if c.get("pos_embed_ar_preserving") else grid
    sampled, mode = c.get("pos_embed_use_grid_sample", False), c.get("pos_embed_interp_mode", "bicubic")
    if c["pos_embed"] == "learned":
        table = resized(w["embeds.pos_embed"][0], size, "linear" if mode == "bilinear" else "cubic", not sampled)
        x = x + table[: grid[0], : grid[1]]
    elif c["pos_embed"] == "factorized":
        down = resized(w["embeds.pos_embed_y"][0][:, None], (size[0], 1), "linear", False)
        across = resized(w["embeds.pos_embed_x"][0][None], (1, size[1]), "linear", False)
        x = x + (down + across)[: grid[0], : grid[1]]
    before = [w[f"embeds.{name}"][0] for name in ("cls_token", "reg_token") if f"embeds.{name}" in w]
    x = np.concatenate([*before, x.reshape(-1, x.shape[-1])])
    x = norm(x, w["norm_pre.weight"], w["norm_pre.bias"]) if c.get("pre_norm") else x
    for i in range(c["depth"]):
        x = block(x, w, f"blocks.{i}", c["num_heads"], "erf")
    x = norm(x, w["norm.weight"], w["norm.bias"]) if "norm.weight" in w else x
    patches = x if c.get("pool_include_prefix") else x[sum(map(len, before)) :]
    pool = c["global_pool"]
    if pool == "map":
        y = map_pool(patches, w, c.get("attn_pool_num_heads", c["num_heads"]), "erf")
    else:
        mean, largest = patches.mean(axis=0), patches.max(axis=0)
        y = {"avg": mean, "max": largest, "avgmax": (mean + largest) / 2, "token": x[0]}[pool]
    y = norm(y, w["fc_norm.weight"], w["fc_norm.bias"]) if "fc_norm.weight" in w else y
    return dense(y, w, "head")


def own_case(folder, changes):
    c, rng = {**BASE, **changes}, np.random.default_rng(2)
    w = arrays(c)
    images = [rng.normal(size=(*size, 3)) for size in SIZES]
    parts = dict(zip(("patches", "patch_coord", "patch_valid"), filled(images, (2, 2), 17), strict=True))
    output = np.array([by_hand(w, c, image) for image in images])
    labels = np.array([0, 2, 1])
    found = {**parts, "labels": labels, "output": output, "loss": np.asarray(cross_entropy(output, labels))}
    for b, image in enumerate(images):
        found |= {f"image{b}": np.moveaxis(image, -1, 0), f"alone/output{b}": output[b : b + 1]}
    names = {"attn_pool.latent", "attn_pool.kv.weight", "embeds.proj.weight", "embeds.reg_token", "embeds.cls_token"}
    names |= {"embeds.pos_embed", "embeds.pos_embed_y", "embeds.pos_embed_x", "blocks.0.attn.qkv.weight"}
    return c, w, images, labels, sorted(names & w.keys()), write_case(folder, "naflexvit", c, w, found)


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 22


@pytest.mark.parametrize("name", OTHERS)
def test_a_slow_implementation_agrees_padded_and_alone(tmp_path, name):
    c, w, images, labels, names, case = own_case(tmp_path, OTHERS[name])
    assert wrong_arrays(case) == []
    found = recorded.recompute(case)

    def loss(weights):
        return cross_entropy([by_hand(weights, c, image) for image in images], labels)

    for array, way, slope in slopes(loss, w, names):
        assert (found[f"grad/{array}"] * way).sum() == pytest.approx(slope, rel=1e-6, abs=1e-7), array
    assert all(np.isfinite(x).all() for x in found.values())


# mistakes

real_padded, real_hiding, real_pooled, real_resize = NaFlexViT.padded, naflexvit.hiding, NaFlexViT._pooled, F.resize
real_fitted, real_filled = NaFlexViT._fitted, naflexvit.filled


def nothing_hidden(real, key_mask, like):
    return real_hiding(np.ones_like(real), key_mask, like)


def hidden_as_keys(real, key_mask, like):
    return real_hiding(real, True, like)


def minus_infinity(real, key_mask, like):
    bias = real_hiding(real, key_mask, like)
    return Tensor(np.where(bias.data < 0, -np.inf, bias.data))


def over_padding_too(self, x, real):
    return real_pooled(self, x, None)


def of_registers_too(self, x, real):
    wide = dataclasses.replace(self.config, pool_prefix=True)
    own, self.config = self.config, wide
    try:
        return real_pooled(self, x, real)
    finally:
        self.config = own


def resize_by(method):
    def resize(x, size, given="bilinear", scale=None):
        return real_resize(x, size, method, scale)

    return resize


def first_rows(x, size, given="bilinear", scale=None):
    return (
        x[:, : size[0], : size[1]] if x.shape[1] >= size[0] and x.shape[2] >= size[1] else real_resize(x, size, given)
    )


def positions_on_padding(self, grid, length):
    table = self.table(grid)
    return F.concat(*[table] * (1 + length // table.shape[1]), axis=1)[:, :length]


def channels_first(images, patch, length=0):
    patches, places, real = real_filled(images, patch, length)
    pixels = patches.reshape(*patches.shape[:2], -1, images[0].shape[-1])
    return np.ascontiguousarray(pixels.swapaxes(2, 3)).reshape(patches.shape), places, real


WRONG = [
    (naflexvit, "hiding", nothing_hidden, "output"),
    (naflexvit, "hiding", hidden_as_keys, "tap/blocks.0"),
    (naflexvit, "hiding", minus_infinity, "tap/blocks.0"),
    (NaFlexViT, "_pooled", over_padding_too, "output"),
    (NaFlexViT, "_pooled", of_registers_too, "output"),
    (F, "resize", resize_by("bicubic"), "tap/embeds"),
    (F, "resize", resize_by("bicubic_keys"), "tap/embeds"),
    (F, "resize", resize_by("bilinear_antialias"), "tap/embeds"),
    (F, "resize", first_rows, "tap/embeds"),
    (NaFlexViT, "_fitted", positions_on_padding, "tap/embeds"),
    (recorded, "filled", channels_first, "patches"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


def test_rows_and_columns_swapped_are_seen(tmp_path, monkeypatch):
    case = own_case(tmp_path, {"pos_embed": "factorized", "pos_embed_grid_size": [4, 4]})[-1]
    assert wrong_arrays(case) == []
    case.weights["embeds.pos_embed_x"], case.weights["embeds.pos_embed_y"] = (
        case.weights["embeds.pos_embed_y"],
        case.weights["embeds.pos_embed_x"],
    )
    assert "output" in wrong_arrays(case)


# counts, batches


@pytest.mark.parametrize("name", ["naflexvit-b16-gap", "naflexvit-b16-par-gap"])
def test_the_published_model_has_as_many_parameters(name):
    assert NaFlexViT(NaFlexViTConfig(**VARIANTS[name]), None).num_parameters() == 86_633_704


def test_images_are_filled_up_to_the_longest():
    images = [np.arange(6 * 4 * 1.0).reshape(6, 4, 1), np.ones((2, 2, 1))]
    patches, places, real = filled(images, (2, 2))
    assert (patches.shape, real.sum(axis=1).tolist()) == ((2, 6, 4), [6, 1])
    assert patches[0, 1].tolist() == [2, 3, 6, 7]
    assert places[0].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]
    assert not patches[1, 1:].any()
    with pytest.raises(ValueError, match="an image has 6 patches, the sequence 5 places"):
        filled(images, (2, 2), 5)


def test_a_batch_without_padding_needs_no_mask():
    config = NaFlexViTConfig(**TINY)
    model = NaFlexViT(config, 0, "float64")
    images = np.random.default_rng(0).normal(size=(2, 12, 8, 1))
    patches, places, real = filled(list(images), (4, 4))
    wanted = model(images).data
    assert np.allclose(model.padded(patches, places).data, wanted, rtol=0, atol=1e-13)
    assert np.allclose(model.padded(patches, places, real).data, wanted, rtol=0, atol=1e-13)
    whole, part = {}, {}
    model.padded(patches, places, real, whole)
    model.padded(patches[:, :5], places[:, :5], real[:, :5], part)  # as in timm, where the last patches are missing
    assert np.array_equal(part["embedded"].data, whole["embedded"].data[:, :5])


def test_the_tap_shows_patches_before_the_first_norm():
    model = NaFlexViT(NaFlexViTConfig(**{**TINY, "pre_norm": True, "positions": "none"}), 0, "float64").eval()
    patches, places, real = filled([np.random.default_rng(0).normal(size=(8, 4, 1))], (4, 4))
    tap = {}
    model.padded(patches, places, real, tap)
    assert np.allclose(tap["embedded"].data, patches @ model.patch_embed.weight.data, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"positions": "fac"}, 'positions is "fac", expected one of learned, factorised, none'),
        ({"classifier": "token"}, 'classifier "token" needs class_token'),
        ({"resize": "cubic"}, 'resize is "cubic", expected one of'),
        ({"heads": 5}, "5 heads do not divide width 768"),
        ({"pool_heads": 7}, "7 heads do not divide width 768"),
        ({"patch_size": 15}, "patch size 15x15 does not divide image size 384x384"),
        ({"width": 0}, "width is 0, expected at least 1"),
        ({"norm_eps": -1.0}, "norm_eps is -1.0, expected 0 < norm_eps < 1"),
        ({"layer_scale": float("nan")}, "layer_scale is nan, expected a positive number, or None for none"),
        ({"pool_mlp_width": -5}, "pool_mlp_width is -5"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        NaFlexViTConfig(**fields)
    assert "\n" not in str(caught.value)
