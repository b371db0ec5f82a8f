"""BoTNet: its attention held to a recording of timm's code, and to a slow second implementation."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from convolutions_by_hand import as_kernels, random_weights
from convolutions_by_hand import botnet_attention as by_hand
from networks_by_hand import agree
from recordings import wrong_arrays

from minivit import functional as F
from minivit.errors import ConfigError
from minivit.lineage import botnet, published_layers, verify
from minivit.lineage.botnet import BoTNet, BoTNetConfig, Bottleneck, RelativeAttention
from minivit.lineage.recorded import botnet as recorded
from minivit.models.families import build, config_of, named_fields

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "botnet_attn"
SMALL = {"depths": (1, 2), "base": 8, "image_size": 8, "num_classes": 3, "root": "3x3"}


def test_the_recording_of_timms_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 7


def query_minus_key(size, xp):
    return real_towards(size, xp).T


def positions_without_content(self, q):
    return real_positions(self, q * 0.0 + 1.0)


def rows_for_columns(self, q):
    self.height, self.width = self.width, self.height
    self.grid = self.grid[::-1]
    scores = real_positions(self, q)
    self.height, self.width, self.grid = self.width, self.height, self.grid[::-1]
    return scores


def always_scaled(self, q):
    return real_positions(self, q) * (self.inside // self.heads) ** -0.5


real_towards, real_positions = botnet.towards, RelativeAttention.positions
WRONG = [
    (botnet, "towards", query_minus_key),
    (RelativeAttention, "positions", positions_without_content),
    (RelativeAttention, "positions", rows_for_columns),
    (RelativeAttention, "positions", always_scaled),
]


@pytest.mark.parametrize(("place", "name", "mistake"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake):
    monkeypatch.setattr(place, name, mistake)
    assert "a/output" in wrong_arrays(verify.open_case(CASE))


OTHERS = {
    "as the authors": {"scale_pos_embed": True},
    "half of the map, biases": {"stride": 2, "bias": True},
    "values as wide as the queries, one row": {"grid": (1, 6), "filters": 12, "num_heads": 3},
}


@pytest.mark.parametrize("fields", OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, fields):
    how = {
        "num_heads": 2, "scale_pos_embed": False, "stride": 1, "grid": (4, 2), "filters": 6, "bias": False, **fields
    }  # fmt: skip
    attention = RelativeAttention(5, how["filters"], how["grid"], how["num_heads"], 4, None, bias=how["bias"])
    shapes = {name: x.shape for name, x in published_layers.views(attention, names=recorded.TO_TIMM).items()}
    weights = as_kernels(random_weights(shapes, np.random.default_rng(0)), "rel")
    images = np.random.default_rng(1).normal(size=(2, 5, *how["grid"]))
    config = {name: how[name] for name in ("num_heads", "scale_pos_embed", "stride")}
    agree(tmp_path, "botnet_attn", config, weights, partial(by_hand, config=how), images, recorded.recompute)


def test_numbers_of_parameters():
    """ResNet-50 has 25,557,032. Three kernels of 3 x 3 x 512 x 512 go, three matrices of 512 x 1,536 and the tables
    come: of 14 rows and columns once, of 7 twice."""
    tables = 2 * (2 * 14 - 1) * 128 + 2 * 2 * (2 * 7 - 1) * 128
    expected = 25_557_032 - 3 * (9 * 512 * 512 - 512 * 1536) + tables
    assert build(config_of(named_fields("botnet-50"), "test"), None).num_parameters() == expected == 20_852_008


def test_only_the_last_stage_attends_to_a_map_of_its_size():
    network = BoTNet(BoTNetConfig(image_size=224), None)
    grids = [[getattr(block.mixing, "grid", None) for block in stage.inside] for stage in network.stages]
    assert grids == [[None] * 3, [None] * 4, [None] * 6, [(14, 14), (7, 7), (7, 7)]]
    assert [block.mixing.pools for block in network.stages[3].inside] == [True, False, False]
    kept = BoTNet(BoTNetConfig(image_size=224, last_stride=1), None)
    assert [block.mixing.grid for block in kept.stages[3].inside] == [(14, 14)] * 3


def test_maps_and_features_have_their_shapes():
    for root, last, side in (("3x3", 2, 4), ("3x3", 1, 8), ("7x7", 1, 2)):
        network, tap = BoTNet(BoTNetConfig(**{**SMALL, "root": root}, last_stride=last)).eval(), {}
        logits = network(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), tap)
        assert (logits.shape, tap["stage1"].shape, tap["features"].shape) == ((2, 3), (2, side, side, 64), (2, 64))
        assert not logits.data.any()  # the head begins at zero


def test_a_block_is_what_its_words_say():
    rng = np.random.default_rng(0)
    block = Bottleneck(8, 8, 2, (4, 4), BoTNetConfig(**SMALL, heads=2), rng, "float64").eval()
    block.norm3.scale.data[...] = rng.normal(size=32)
    x = block.conv1.weight.data.dtype.type(1) * rng.normal(size=(2, 4, 4, 8))
    once = 1 / np.sqrt(1 + 1e-5)  # running statistics of the start
    narrow = np.maximum(x @ block.conv1.weight.data * once, 0)
    attended = np.maximum(block.mixing(block.conv1(block.tensor(x)) * 0 + narrow).data * once, 0)
    branch = attended @ block.conv3.weight.data * once * block.norm3.scale.data
    expected = np.maximum(branch + x[:, ::2, ::2] @ block.shortcut.inside[0].weight.data[0, 0] * once, 0)
    assert np.allclose(block(block.tensor(x)).data, expected)
    assert attended.shape == (2, 2, 2, 8)


def test_the_first_values():
    network = BoTNet(BoTNetConfig(**{**SMALL, "base": 64}), 3)
    attention = network.stages[1].inside[1].mixing
    assert attention.height.data.std() == pytest.approx(32**-0.5, rel=0.15)
    assert attention.qkv.weight.data.std() == pytest.approx(128**-0.5, rel=0.1)
    assert network.stages[0].inside[0].mixing.weight.data.std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.1)
    assert not network.stages[0].inside[0].norm3.scale.data.any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depths": ()}, "at least 1"),
        ({"heads": 3}, "do not divide the 16 channels"),
        ({"image_size": (8, 7)}, "must be even"),
        ({"last_stride": 3}, "last_stride 1 or 2"),
        ({"root": "5x5"}, "root 7x7 or 3x3"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        BoTNetConfig(**{**SMALL, **fields})


def test_a_map_of_another_size_is_refused():
    attention = RelativeAttention(4, 4, (2, 3), 2, 2, None)
    with pytest.raises(ValueError, match="expected 2x3"):
        attention(F.reshape(attention.tensor(np.zeros(24)), (1, 3, 2, 4)))
