"""Modern ViTs: held to recordings of published code, and to a slow second implementation."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from modern_by_hand import BASE, ByHand, arrays
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.errors import ConfigError
from minivit.lineage import modern, verify
from minivit.lineage.modern import Modern, ModernConfig
from minivit.lineage.modern_config import fields
from minivit.lineage.recorded import modern as recorded
from minivit.models import relative, rope
from minivit.models.families import build, config_of, mapping, named_fields
from minivit.nn import LayerNorm, RMSNorm
from minivit.tensor import Tensor, grad

CASES = Path(__file__).resolve().parents[1] / "data" / "lineage"
RECORDED = {
    "eva02_base": 13, "rope_vit_axial": 12, "rope_vit_mixed": 15, "dinov3": 13, "vit_modern": 14, "vit_qknorm_ln": 12,
    "beit_relpos": 14, "beit_shared_relpos": 15, "vit_relpos_mlp": 14,
}  # fmt: skip
EVA = {"use_rot_pos_emb": True, "positions": "all", "qkv": "qv", "fc_norm": True}
MIXED = {"use_rot_pos_emb": True, "rope_type": "mixed", "global_pool": "token", "gammas": ("gamma_1", "gamma_2")}
OTHERS = {
    "EVA-02 Base": {
        **EVA, "qkv_fused": False, "split": True, "scale_mlp": True, "scale_attn_inner": True, "ref_feat_shape": [5, 5]
    },
    "EVA-02, x first, from place 1": {
        **EVA, "gated": True, "rope_grid_indexing": "xy", "rope_grid_offset": 1.0, "ref_feat_shape": [3, 5]
    },
    "RoPE-ViT mixed": {**MIXED, "rope_grid_indexing": "xy"},
    "mixed, rows first, a table beside": {**MIXED, "rope_grid_indexing": "ij", "positions": "patches"},
    "DINOv3, another grid": {
        "use_rot_pos_emb": True, "rope_type": "dinov3", "rope_rotate_half": True, "rope_temperature": 100,
        "num_reg_tokens": 2, "split": True, "gammas": ("gamma_1", "gamma_2"), "global_pool": "token", "num_classes": 0,
        "qkv": "none", "eps": 1e-5, "norm_layer": "LayerNorm eps 1e-5", "image": (16, 8),
    },
    "QK-norm by LayerNorm": {
        "qk_norm": True, "positions": "patches", "reg_tokens": 2, "global_pool": "token",
        "gammas": ("ls1.gamma", "ls2.gamma"), "norm_layer": "<class 'torch.nn.LayerNorm'>", "eps": 1e-5,
    },
    "QK-norm without biases": {
        "qk_norm": True, "norm": "no bias", "norm_layer": "LayerNorm", "class_token": False, "positions": "all"
    },
    "RMSNorm and GEGLU": {
        "norm": "rms", "norm_layer": "RmsNorm, eps=0.001", "eps": 1e-3, "class_token": False, "fc_norm": True,
        "gated": True, "geglu": True, "mlp_layer": "GluMlp, gate_last=False", "act_layer": "GELU", "qkv": "none",
    },
    "BEiT, one table for all blocks": {
        "use_shared_rel_pos_bias": True, "qkv": "qv", "fc_norm": True, "gammas": ("gamma_1", "gamma_2")
    },
    "BEiT, one row of patches": {"use_rel_pos_bias": True, "img_size": [4, 16], "qkv": "qv", "fc_norm": True},
    "offsets by a network": {"rel_pos_type": "mlp", "class_token": False, "qkv": "none", "num_heads": 4},
    "offsets by Swin V2's network": {"rel_pos_type": "mlp-swin", "global_pool": "token"},
    "one network for all blocks": {
        "rel_pos_type": "mlp", "shared_rel_pos": True, "class_token": False, "img_size": [12, 12], "fc_norm": True
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_the_recordings_of_published_code(name):
    case = verify.open_case(CASES / name)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == RECORDED[name]


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes):
    config, rng = {**BASE, **changes}, np.random.default_rng(1)
    weights = arrays(config, rng)
    given = {"image": rng.normal(size=(2, config["in_chans"], *config.get("image", config["img_size"])))}
    if config["num_classes"]:
        given["labels"] = np.array([2, 0])
    else:
        given["cotangent"] = rng.normal(size=(2, config["embed_dim"]))
    slow = ByHand(config, weights, **given)
    stored = {key: x for key, x in config.items() if key not in ("image", "inner", "eps")}
    found = {**given, "output": slow.output, "loss": np.asarray(slow.loss)}
    case = write_case(tmp_path, "modern", stored, weights, found)
    assert wrong_arrays(case) == []
    again, rng, e = recorded.recompute(case), np.random.default_rng(2), 1e-5
    ways = {name: rng.normal(size=x.shape) for name, x in weights.items()}
    moved = [{name: x + s * ways[name] for name, x in weights.items()} for s in (e, -e)]
    difference = np.subtract(*(ByHand(config, w, **given).loss for w in moved)) / (2 * e)
    assert sum((again[f"grad/{name}"] * way).sum() for name, way in ways.items()) == pytest.approx(difference, rel=1e-6)
    norm = np.sqrt(sum(np.square(again[f"grad/{name}"]).sum() for name in weights))
    assert again["grad_norm"] == pytest.approx(norm, rel=1e-12)
    way = rng.normal(size=given["image"].shape)
    moved = [{**given, "image": given["image"] + s * way} for s in (e, -e)]
    difference = np.subtract(*(ByHand(config, weights, **of).loss for of in moved)) / (2 * e)
    assert (again["grad_input/image"] * way).sum() == pytest.approx(difference, rel=1e-6)


real_forward, real_attend = rope.Rope.forward, F.attend


def keys_stay(self, x, angles):
    self.calls = vars(self).get("calls", 0) + 1
    return x if self.calls % 2 == 0 else real_forward(self, x, angles)


def values_turn(q, k, v, bias=None, **options):
    """Values turned as the keys were: by the angles of a model of this grid."""
    heads = options["heads"]
    angles = rope.axial_angles((4, 6), v.shape[-1] // heads, 100.0, x_first=True)
    parts = v.reshape(*v.shape[:2], heads, -1)
    turned = F.concat(parts[:, :1], F.rotate(parts[:, 1:], angles), axis=1)
    return real_attend(q, k, turned.reshape(v.shape), bias, **options)


def all_tokens_turn(self, x, angles):
    before = x.shape[1] - angles.shape[0]
    return F.rotate(x, np.concatenate([angles[:before], angles]), self.halves)


def other_pairs(self, x, angles):
    before = x.shape[1] - angles.shape[0]
    return F.concat(x[:, :before], F.rotate(x[:, before:], angles, not self.halves), axis=1)


def frequencies_of_one_axis(a, b, width, base):
    f = base ** -(np.arange(width // 4) / (width // 2))
    return np.concatenate([a[:, None] * f, b[:, None] * f], axis=1)[:, None]


def in_float32(a, b, width, base):
    return real_both(a, b, width, base).astype(np.float32)


def other_axis_first(a, b, width, base):
    return real_both(b, a, width, base)


real_both = rope._both


def unscaled(q, k, v, bias=None, **options):
    return real_attend(q, k, v, bias, **options, scale=1.0)


def bias_is_scaled_too(q, k, v, bias=None, **options):
    return real_attend(q, k, v, bias * (q.shape[-1] // options["heads"]) ** -0.5, **options)


def over_all_heads(self, x):
    flat = x.reshape(*x.shape[:2], -1)
    size = F.sqrt((flat * flat).mean(axis=-1, keepdims=True) + self.eps)
    return (flat / size).reshape(x.shape) * self.scale if x.ndim == 4 else real_rms(self, x)


def by_variance(self, x):
    return real_rms(self, x - x.mean(axis=-1, keepdims=True))


real_rms = RMSNorm.forward


def value_first(self, x, rng=None):
    h = self.hidden(x)
    inner = h.shape[-1] // 2
    return self.out(F.swiglu(h[..., inner:], h[..., :inner]))


def gate_of_gelu(self, x, rng=None):
    h = self.hidden(x)
    inner = h.shape[-1] // 2
    return self.out(F.gelu(h[..., :inner], "erf") * h[..., inner:])


def mean_over_all(self, x, tap=None):
    tap["features"] = self.norm(x.mean(axis=1))
    return self.head(tap["features"])


def norm_before_mean(self, x, tap=None):
    tap["features"] = self.norm(x)[:, self.config.before :].mean(axis=1)
    return self.head(tap["features"])


def keys_ask(grid, class_token=False):
    return real_index(grid, class_token).T


def no_rows_for_the_class(grid, class_token=False):
    index = real_index(grid, class_token).copy()
    index[0], index[:, 0] = 0, 0
    return index


def grid_as_it_is(grid, width, base=10_000.0, x_first=False, trained=None, first=0.0):
    return real_axial(grid, width, base, x_first, None, first)


def no_inner_norm(self, x, rng=None):
    h = self.hidden(x)
    inner = h.shape[-1] // 2
    return self.out(F.swiglu(h[..., :inner], h[..., inner:]))


def first_block_for_all(self, grid, block, like):
    return real_angles(self, grid, 0, like)


def rows_first(grid, x_first=True):
    return real_places(grid, not x_first)


def one_head_for_all(self):
    bias = real_table(self)
    return F.broadcast_to(bias[:1], bias.shape)


def without_signs(grid, swin=False):
    return np.abs(real_logs(grid, swin))


def not_normalised(self, x):
    return x if x.ndim == 4 else real_layer_norm(self, x)


real_index, real_axial, real_angles = relative.relative_index, rope.axial_angles, rope.Rope.angles
real_places, real_logs, real_table = rope.mixed_places, relative.log_offsets, relative.RelativeTable.forward
real_layer_norm = LayerNorm.forward
WRONG = [
    ("rope_vit_axial", rope.Rope, "forward", keys_stay),
    ("rope_vit_axial", F, "attend", values_turn),
    ("rope_vit_axial", rope.Rope, "forward", other_pairs),
    ("rope_vit_axial", rope, "_both", frequencies_of_one_axis),
    ("rope_vit_axial", rope, "_both", other_axis_first),
    ("rope_vit_axial", rope, "_both", in_float32),
    ("rope_vit_axial", F, "attend", unscaled),
    ("dinov3", rope.Rope, "forward", other_pairs),
    ("dinov3", rope.Rope, "forward", all_tokens_turn),
    ("dinov3", rope, "_both", other_axis_first),
    ("vit_modern", RMSNorm, "forward", over_all_heads),
    ("vit_modern", RMSNorm, "forward", by_variance),
    ("vit_modern", F, "attend", unscaled),
    ("vit_modern", modern.ModernMLP, "forward", value_first),
    ("vit_modern", modern.ModernMLP, "forward", gate_of_gelu),
    ("vit_modern", Modern, "classify", mean_over_all),
    ("vit_modern", Modern, "classify", norm_before_mean),
    ("beit_relpos", relative, "relative_index", keys_ask),
    ("beit_relpos", relative, "relative_index", no_rows_for_the_class),
    ("beit_relpos", F, "attend", bias_is_scaled_too),
    ("eva02_base", rope, "axial_angles", grid_as_it_is),
    ("eva02_base", modern.ModernMLP, "forward", no_inner_norm),
    ("rope_vit_mixed", rope.Rope, "angles", first_block_for_all),
    ("rope_vit_mixed", rope, "mixed_places", rows_first),
    ("vit_qknorm_ln", LayerNorm, "forward", not_normalised),
    ("beit_shared_relpos", relative.RelativeTable, "forward", one_head_for_all),
    ("vit_relpos_mlp", relative, "log_offsets", without_signs),
]


@pytest.mark.parametrize(("name", "place", "function", "mistake"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, no_tables_kept, name, place, function, mistake):
    monkeypatch.setattr(place, function, mistake)
    output = "wide/output" if name == "dinov3" else "a/output"
    assert output in wrong_arrays(verify.open_case(CASES / name))


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        ("eva02_tiny_patch14_224", 0, 5_502_144),
        ("eva02_small_patch14_224", 0, 21_621_120),
        ("eva02_base_patch14_224", 0, 85_758_720),
        ("eva02_large_patch14_224", 0, 303_268_800),
        ("vit_small_patch16_rope_224", 1000, 21_984_232),
        ("vit_base_patch16_rope_224", 1000, 86_434_792),
        ("vit_large_patch16_rope_224", 1000, 304_174_056),
        ("vit_small_patch16_rope_mixed_224", 1000, 21_988_840),
        ("vit_base_patch16_rope_mixed_224", 1000, 86_444_008),
        ("vit_base_patch16_rope_mixed_ape_224", 1000, 86_594_536),
        ("vit_small_patch16_dinov3", 0, 21_586_944),
        ("vit_small_plus_patch16_dinov3", 0, 28_683_264),
        ("vit_base_patch16_dinov3", 0, 85_641_216),
        ("vit_large_patch16_dinov3", 0, 303_079_424),
        ("vit_huge_plus_patch16_dinov3", 0, 840_509_440),
        ("vit_7b_patch16_dinov3", 0, 6_716_030_976),
    ],
)
def test_the_published_models_have_as_many_parameters(name, classes, count):
    config = config_of({**named_fields(name), "num_classes": classes}, name)
    assert isinstance(config, ModernConfig)
    assert build(config, None).num_parameters() == count


def test_its_file_is_imported_when_it_is_used():
    code = """
import sys
import minivit.lineage
from minivit.models.families import named_fields
for name in ("B/16", "R50x1", "modern_nano_patch4"):
    assert "minivit.lineage.modern" not in sys.modules, name
    named_fields(name)
assert "minivit.lineage.modern" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_tell_size_patch_and_image():
    config = ModernConfig(**fields("beit_large_patch14_28"))
    assert (config.image_size, config.patch_size, config.width, config.layer_scale) == ((28, 28), (14, 14), 1024, 1e-5)
    assert ModernConfig(**fields("eva02_small_patch14")).mlp_norm is False
    assert ModernConfig(**fields("eva02_base_patch14")).mlp_norm is True
    plain = named_fields("B/16")
    assert plain["patch_size"] == 16
    for name in (
        "vit_base_patch16_224",
        "eva02_giant_patch14",
        "vit_small_plus_patch16_rope",
        "beit_base_patch16_rope",
    ):
        with pytest.raises(ConfigError, match="unknown"):
            named_fields(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope": "spiral"}, 'rope is "spiral", expected one of none, axial, mixed, dinov3'),
        ({"width": 12, "heads": 2, "rope": "axial"}, "heads whose width is a multiple of 4, not 6"),
        ({"width": 10, "heads": 3}, "3 heads do not divide width 10"),
        ({"patch_size": 5}, "patch size 5x5 does not divide image size 224x224"),
        ({"classifier": "token"}, "set class_token"),
        ({"relative": "table", "register_tokens": 2}, "no rows for register_tokens"),
        ({"drop_path": 1.0}, "drop_path is 1.0, expected 0 <= rate < 1"),
        ({"layer_scale": 0.0}, "layer_scale is 0.0, expected a positive number"),
        ({"depth": 0}, "depth is 0, expected at least 1"),
        ({"norm_eps": 0.0}, "norm_eps is 0.0"),
        ({"rope_base": -1.0}, "rope_base is -1.0, expected a positive number"),
        ({"rope_base": float("inf")}, "rope_base is inf, expected a positive number"),
        ({"num_classes": -1}, "num_classes is -1"),
        ({"rope_first": float("inf")}, "rope_first is inf, expected a finite number"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        ModernConfig(**changes)


def test_a_configuration_survives_json_and_says_what_it_is():
    for name in ("eva02_base_patch14_448", "vit_7b_patch16_dinov3", "modern_nano_patch4", "beit_base_patch16"):
        config = ModernConfig(**fields(name))
        assert config_of(json.loads(json.dumps(mapping(config))), "test") == config
    config = ModernConfig(**{**fields("modern_nano_patch4"), "image_size": 8})
    assert config.description == ("Modern: RoPE axial, swiglu, QK-norm, RMSNorm, width 96, depth 6, 3 heads, 8 tokens")


def tiny(name, dtype="float64", **changes):
    shape = {"width": 16, "depth": 2, "heads": 2, "mlp_width": 12, "image_size": 8, "num_classes": 3, "channels": 1}
    config = ModernConfig(**{**fields(f"{name}"), **shape, **changes})
    model = Modern(config, 0, dtype)
    rng = np.random.default_rng(5)
    for tensor in model.parameters():  # also those that begin as 0
        tensor.data += 0.1 * rng.normal(size=tensor.shape)
    return model


EACH = ["eva02_nano_patch4", "vit_nano_patch4_rope_mixed", "vit_nano_patch4_dinov3", "beit_nano_patch4",
        "vit_relpos_nano_patch4", "modern_nano_patch4"]  # fmt: skip


@pytest.mark.parametrize("name", EACH)
def test_recomputed_blocks_and_a_tap_change_nothing(name):
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
    for changes in ({}, {"relative": "shared-mlp", "register_tokens": 0}):
        model, tap = tiny(name, **changes).eval(), {}
        tensors = model.parameters()
        loss = F.cross_entropy(model(images), np.array([0, 2]))
        expected = grad(loss, tensors)
        model.recompute_blocks = True
        again = grad(F.cross_entropy(model(images), np.array([0, 2])), tensors)
        assert all(np.allclose(a, b, rtol=1e-9, atol=1e-14) for a, b in zip(again, expected, strict=True))
        seen = model(images, tap)
        assert np.allclose(seen.data, model(images).data, rtol=1e-12)
        tokens = model.config.num_tokens
        assert tap["block1/attention_weights"].shape == (2, 2, tokens, tokens)
        assert np.allclose(tap["block1/attention_weights"].sum(axis=-1), 1)
        assert tap["features"].shape == (2, 16)


def test_dropout_and_drop_path_act_in_training_only():
    model = tiny("modern_nano_patch4", dropout=0.3, drop_path=0.3)
    images, rng = np.random.default_rng(0).normal(size=(2, 8, 8, 1)), np.random.default_rng
    first, again, other = (model(images, rng=rng(seed)).data for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    with pytest.raises(ValueError, match="pass rng"):
        model(images)
    assert np.array_equal(model.eval()(images).data, model(images).data)


def test_dropout_stands_where_a_vit_has_it_and_drop_path_rises(monkeypatch):
    rates, real = [], F.dropout

    def counted(x, rate, rng):
        rates.append((rate, x.shape[-1]))
        return real(x, rate, rng)

    monkeypatch.setattr(F, "dropout", counted)
    model = tiny("modern_nano_patch4", dropout=0.3, drop_path=0.2, depth=3)
    model(np.zeros((1, 8, 8, 1)), rng=np.random.default_rng(0))
    assert rates == [(0.3, 16), (0.3, 12), (0.3, 16)] * 3  # after attention, in the MLP, after it
    assert [block.drop_path.rate for block in model.blocks] == [0, 0.1, 0.2]


def test_initial_values():
    model = Modern(ModernConfig(**{**fields("eva02_tiny_patch4"), "image_size": 64, "depth": 1, "channels": 1}), 0)
    assert model.class_token.data.std() == pytest.approx(0.02, rel=0.3)
    assert model.position_embedding.data.std() == pytest.approx(0.02, rel=0.05)
    weight = model.blocks[0].mlp.hidden.weight.data
    for half in np.split(weight, 2, axis=1):  # each drawn for itself
        assert half.std() == pytest.approx((2 / (192 + 512)) ** 0.5, rel=0.02)
    assert not model.blocks[0].attention.q_bias.data.any()
    for seed in (None, 0):
        empty = Modern(ModernConfig(**fields("beit_nano_patch16")), seed)
        assert not empty.blocks[0].attention.relative.table.data.any()


def test_qk_norm_may_have_an_epsilon_of_its_own():
    case = verify.open_case(CASES / "vit_qknorm_ln")
    for eps, fine in (("1e-06", True), ("0.1", False)):
        case.meta["notes"] = ["first", f"eps: norm1 1e-06, q_norm {eps}"]
        assert (wrong_arrays(case) == []) == fine


def test_other_image_sizes_need_a_model_without_tables():
    images = np.zeros((1, 12, 8, 1))
    assert tiny("vit_nano_patch4_dinov3")(images).shape == (1, 3)
    for name in ("eva02_nano_patch4", "beit_nano_patch4", "vit_relpos_nano_patch4"):
        with pytest.raises(ValueError, match=r"its tables are for \(2, 2\) patches"):
            tiny(name)(images)


def test_dinov3_sees_the_same_positions_at_twice_the_resolution():
    """The corners of a patch of the coarse grid are those of four of the fine one."""
    coarse, fine = (rope.dinov3_angles(grid, 8)[:, 0].reshape(*grid, 4) for grid in ((2, 3), (4, 6)))
    assert np.allclose(fine.reshape(2, 2, 3, 2, 4).mean(axis=(1, 3)), coarse)


@pytest.mark.parametrize("name", ["eva02_nano_patch4", "beit_nano_patch4", "modern_nano_patch4"])
def test_it_works_in_float32_and_gives_zeros_at_the_start(name):
    config = ModernConfig(**{**fields(name), "image_size": 8, "num_classes": 3})
    out = Modern(config)(np.zeros((2, 8, 8, 3), np.float32))
    assert out.data.dtype == np.float32
    assert not out.data.any()


def test_no_weight_decay_on_tables_and_frequencies():
    from minivit.optim.optimizers import is_kernel

    decaying = [name for name, p in tiny("vit_nano_patch4_rope_mixed").named_parameters() if is_kernel(name, p)]
    assert decaying
    assert not any("frequencies" in name or "token" in name for name in decaying)
    tables = [name for name, p in tiny("beit_nano_patch4").named_parameters() if name.endswith("relative.table")]
    assert len(tables) == 2
    assert not any(is_kernel(name, Tensor(np.zeros((2, 2)))) for name in tables)
