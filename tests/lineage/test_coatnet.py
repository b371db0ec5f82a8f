"""CoAtNet: held to a slow second implementation, with the settings of the paper and of the trained weights."""

import json
from functools import partial

import numpy as np
import pytest
from convolutions_by_hand import as_kernels, random_weights
from convolutions_by_hand import coatnet as by_hand
from networks_by_hand import agree

from minivit import functional as F
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import coatnet, published_layers
from minivit.lineage.coatnet import VARIANTS, Attention, CoAtNet, CoAtNetConfig, ConvBlock, TransformerBlock
from minivit.lineage.recorded import coatnet as recorded
from minivit.models.archive import write_safetensors
from minivit.models.families import build, config_of, named_fields

SMALL = {
    "depths": (1, 2), "widths": (8, 12), "kinds": ("C", "T"), "stem": (4, 6), "head_width": 4, "hidden": 5,
    "num_classes": 3, "image_size": (16, 24), "expansion": 2.0,
}  # fmt: skip
RW = {"of_output": False, "act": "silu", "wide": False, "hidden": None}  # of timm's trained weights
OTHERS = {
    "the paper": {},
    "trained, 0": {
        **RW, "pre_act": True, "squeeze_early": True, "squeeze_act": "relu", "conv_bias": False, "pool_first": True,
        "shortcut_bias": False,
    },
    "trained, 3": {**RW, "pre_act": True, "layer_scale": 0.5, "conv_bias": False},
    "batch norm everywhere": {"batch_norm": True, "hidden": None},
    "other biases": {"stem_bias": True, "attention_bias": False},
    "both kinds in a stage": {"depths": (2, 3), "kinds": ("CT", "TC"), "widths": (8, 8), "image_size": (16, 8)},
}  # fmt: skip


def config_of_case(config):
    """timm's configuration of ours."""
    conv = {
        "expand_ratio": config.expansion, "expand_output": config.of_output, "attn_act_layer": config.squeeze_act,
        "attn_early": config.squeeze_early, "pre_norm_act": config.pre_act, "act_layer": config.act,
        "stride_mode": "pool" if config.pool_first else "dw", "attn_ratio": config.squeeze, "norm_eps": 1e-5,
        "block_type": "mbconv", "pool_type": "avg2", "padding": "",
    }  # fmt: skip
    transformer = {"dim_head": config.head_width, "expand_first": config.wide, "rel_pos_type": "bias"}
    return {"conv_cfg": conv, "transformer_cfg": transformer}


def weights_of(seed=0, **fields):
    """Random weights by timm's names; a normalisation that comes before the mean is not the head's."""
    config = CoAtNetConfig(**{**SMALL, **fields})
    views = published_layers.views(CoAtNet(config, None, "float64"), names=recorded.TO_TIMM)
    weights = random_weights({name: x.shape for name, x in views.items()}, np.random.default_rng(seed))
    weights = as_kernels(weights, "head.", "table")
    return weights if config.hidden else {name.replace("head.norm.", "norm."): x for name, x in weights.items()}


def slow_one(config):
    return partial(by_hand, config={
        "act": config.act, "squeeze_act": config.squeeze_act, "pre_act": config.pre_act, "pool": config.pool_first,
        "head_width": config.head_width,
    })  # fmt: skip


def compared(folder, **fields):
    config, weights = CoAtNetConfig(**{**SMALL, **fields}), weights_of(**fields)
    images = np.random.default_rng(1).normal(size=(2, 3, *config.image_size))
    return agree(folder, "coatnet", config_of_case(config), weights, slow_one(config), images, recorded.recompute)


@pytest.mark.parametrize("fields", OTHERS.values(), ids=OTHERS)
def test_it_agrees_with_the_slow_implementation(tmp_path, fields):
    compared(tmp_path, **fields)


def part_by_part(self, x):
    """Queries of all heads, then keys, then values, as in a ViT."""
    batch, height, width, _ = x.shape
    parts = self.qkv(x).reshape(batch, height * width, 3, self.heads, -1)
    q, k, v = (parts[:, :, i].reshape(batch, height * width, -1) for i in range(3))
    bias = self.table[coatnet.relative_index(self.grid, np)].transpose(2, 0, 1)
    return self.proj(F.attend(q, k, v, bias, heads=self.heads).reshape(batch, height, width, -1))


def without_positions(self, x):
    batch, height, width, _ = x.shape
    parts = self.qkv(x).reshape(batch, height * width, self.heads, 3, -1)
    q, k, v = (parts[:, :, :, i].reshape(batch, height * width, -1) for i in range(3))
    return self.proj(F.attend(q, k, v, heads=self.heads).reshape(batch, height, width, -1))


def key_minus_query(grid, xp):
    return real_index(grid, xp).T


def columns_before_rows(grid, xp):
    y, x = np.mgrid[: grid[0], : grid[1]].reshape(2, -1)
    return (x[:, None] - x + grid[1] - 1) * (2 * grid[0] - 1) + y[:, None] - y + grid[0] - 1


def squeezed_first(self, x, rng=None):
    y = self.norm1(self.conv1_1x1(self.pre_norm(x)))
    return self.shortcut(x) + self.conv3_1x1(self.norm2(self.se(self.conv2_kxk(y))))


def active_at_first(self, x, rng=None):
    y = self.norm1(self.conv1_1x1(F.gelu(self.pre_norm(x), form="erf")))
    return self.shortcut(x) + self.conv3_1x1(self.se(self.norm2(self.conv2_kxk(y))))


real_index = coatnet.relative_index
WRONG = [
    (Attention, "forward", part_by_part),
    (Attention, "forward", without_positions),
    (coatnet, "relative_index", key_minus_query),
    (coatnet, "relative_index", columns_before_rows),
    (ConvBlock, "forward", squeezed_first),
    (ConvBlock, "forward", active_at_first),
]


@pytest.mark.parametrize(("place", "name", "mistake"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, tmp_path, place, name, mistake):
    monkeypatch.setattr(place, name, mistake)
    with pytest.raises(AssertionError):
        compared(tmp_path)


def test_a_pool_before_the_norm_is_seen():
    config, weights, images = CoAtNetConfig(**SMALL), weights_of(), np.random.default_rng(1).normal(size=(2, 3, 16, 24))
    fields = {"image_size": (16, 24), **{name: SMALL[name] for name in ("head_width", "expansion")}}
    network = recorded.build(fields, weights, "test").eval()
    expected, found = slow_one(config)(images, weights)[0], np.moveaxis(images, 1, -1)
    assert np.allclose(network(found).data, expected)
    network.stages[1].inside[0].norm1.inside.reverse()
    assert not np.allclose(network(found).data, expected)


def test_squeezing_by_the_share_of_the_expanded_channels_does_not_fit():
    weights = weights_of()
    with pytest.raises(CheckpointError, match="wrong shape"):
        recorded.build({"of_output": False, "head_width": 4, "image_size": (16, 24)}, weights, "test")


def test_what_only_timms_code_can_do_is_refused(tmp_path):
    case = compared(tmp_path)
    case.config["transformer_cfg"]["rel_pos_type"] = "mlp"
    with pytest.raises(CheckpointError, match="rel_pos_type is mlp, expected bias"):
        recorded.recompute(case)
    case.config["transformer_cfg"]["rel_pos_type"] = "bias"
    case.config["conv_cfg"]["stride_mode"] = "1x1"
    with pytest.raises(CheckpointError, match="stride_mode is 1x1, expected dw or pool"):
        recorded.recompute(case)
    with pytest.raises(CheckpointError, match="only CoAtNets of MBConv"):
        recorded.build({}, {**weights_of(), "stages.1.blocks.0.attn.rel_pos.mlp.fc1.weight": np.zeros(1)}, "test")


COUNTS = {
    "coatnet-0": 25_036_820, "coatnet-1": 42_225_776, "coatnet-2": 74_684_744, "coatnet-3": 166_966_264,
    "coatnet-4": 275_425_288,
}  # fmt: skip


def test_published_numbers_of_parameters():
    assert {name: build(config_of(named_fields(name), name), None).num_parameters() for name in COUNTS} == COUNTS
    assert VARIANTS.keys() - COUNTS == {"coatnet-small32"}


TRAINED = {  # name: blocks, channels, stem, fields that its arrays tell, millions of parameters as timm states them
    "coatnet_nano_rw": ((3, 4, 6, 3), (64, 128, 256, 512), (32, 64), {}, 15.14),
    "coatnet_0_rw": (
        (2, 3, 7, 2), (96, 192, 384, 768), (32, 64),
        {"squeeze_early": True, "conv_bias": False, "shortcut_bias": False}, 27.44,
    ),
    "coatnet_1_rw": (
        (2, 6, 14, 2), (96, 192, 384, 768), (32, 64),
        {"squeeze_early": True, "conv_bias": False, "shortcut_bias": False}, 41.72,
    ),
    "coatnet_2_rw": ((2, 6, 14, 2), (128, 256, 512, 1024), (64, 128), {"conv_bias": False}, 73.87),
    "coatnet_bn_0_rw": (
        (2, 3, 7, 2), (96, 192, 384, 768), (32, 64),
        {"squeeze_early": True, "conv_bias": False, "shortcut_bias": False, "batch_norm": True}, 27.44,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAINED)
def test_trained_weights_have_as_many_parameters_as_timm_states(name):
    depths, widths, stem, told, millions = TRAINED[name]
    config = CoAtNetConfig(depths, widths, stem=stem, hidden=None, **told, **recorded.TRAINED[name])
    assert round(CoAtNet(config, None).num_parameters() / 1e6, 2) == millions


def test_a_stage_may_have_both_kinds():
    config = CoAtNetConfig(**{**SMALL, "depths": (3, 3), "kinds": ("CT", "TC")})
    kinds = [[type(block) for block in stage.inside] for stage in CoAtNet(config, None).stages]
    assert kinds == [[ConvBlock, TransformerBlock, TransformerBlock], [TransformerBlock, ConvBlock, ConvBlock]]


def test_the_first_values():
    network = CoAtNet(CoAtNetConfig(**{**SMALL, "stem": (64, 64)}), 3)
    assert network.stem.inside[2].weight.data.std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.1)
    of_window = CoAtNet(CoAtNetConfig(**{**SMALL, "widths": (64, 64)}), 3).stages[0].inside[0].conv2_kxk
    assert of_window.weight.data.std() == pytest.approx((2 / 9) ** 0.5, rel=0.1)
    block = network.stages[1].inside[1]
    limit = (6 / (12 + 24)) ** 0.5 if block.mlp.hidden.weight.shape == (12, 24) else (6 / (12 + 48)) ** 0.5
    assert np.abs(block.mlp.hidden.weight.data).max() == pytest.approx(limit, rel=0.05)
    assert block.attn.table.data.std() == pytest.approx(0.02, rel=0.5)
    assert not network.eval()(np.ones((1, 16, 24, 3))).data.any()


@pytest.mark.parametrize("name", ["coatnet_0_rw_224.sw_in1k", "coatnet_3_rw_224.sw_in12k"])
def test_published_weights_load(tmp_path, name):
    """What no array tells is known by the name."""
    fields = OTHERS["trained, 0" if "_0_" in name else "trained, 3"]
    fields = {**fields, "expansion": 4.0, "head_width": 4, "squeeze_act": "relu" if "_0_" in name else "silu"}
    config, weights = CoAtNetConfig(**{**SMALL, **fields}), weights_of(**fields)
    index = {"stages.1.blocks.0.attn.rel_pos.relative_position_index": np.zeros((8, 8), np.int64)}
    (tmp_path / name).mkdir()
    path = tmp_path / name / "model.safetensors"
    write_safetensors(path, {**weights, **index}, {})
    images = np.random.default_rng(0).normal(size=(2, 3, 16, 24))
    expected = slow_one(config)(images, weights)[0]
    network = recorded.open_pretrained(path, "float64", image_size=(16, 24), head_width=4).eval()
    assert np.allclose(network(np.moveaxis(images, 1, -1)).data, expected, atol=1e-12)
    facts = {"architecture": "coatnet_2_rw_224", "pretrained_cfg": {"input_size": [3, 16, 24]}}
    path.with_name("config.json").write_text(json.dumps(facts), encoding="utf-8")
    assert recorded.open_pretrained(path, head_width=4).config.squeeze_act == "silu"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depths": (1,)}, "one each to a stage"),
        ({"kinds": ("C", "X")}, "letters C and T"),
        ({"image_size": (8, 12)}, "multiples of 8"),
        ({"act": "sin"}, 'act is "sin", expected one of none, relu'),
        ({"squeeze": -0.1}, "squeeze is"),
        ({"hidden": -1}, "hidden is"),
        ({"expansion": 0.0}, "expansion is 0.0, expected a positive number"),
        ({"mlp_ratio": 0.01}, "mlp_ratio 0.01 leaves no width"),
        ({"conv_eps": -1.0}, "conv_eps"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"head_width": 0}, "at least 1"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        CoAtNetConfig(**{**SMALL, **fields})


def test_images_of_another_size_and_heads_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="does not divide 12 channels"):
        CoAtNet(CoAtNetConfig(**{**SMALL, "head_width": 5}), None)
    with pytest.raises(ValueError, match="expected"):
        CoAtNet(CoAtNetConfig(**SMALL), None).eval()(np.ones((1, 24, 16, 3)))
