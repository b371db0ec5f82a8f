"""EfficientNet: held to recordings of timm's code, in evaluation and training, and to a slow second implementation."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from convolutions_by_hand import as_kernels, random_weights, sigmoid
from convolutions_by_hand import efficientnet as by_hand
from convolutions_by_hand import mbconv as by_hand_block
from networks_by_hand import agree
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import efficientnet, published_layers, verify
from minivit.lineage.efficientnet import SCALES, EfficientNet, EfficientNetConfig, MBConv, Separable, rounded
from minivit.lineage.recorded import efficientnet as recorded
from minivit.models.archive import write_safetensors
from minivit.models.families import build, config_of, named_fields
from minivit.nn.batch_norm import batch_statistics
from minivit.nn.squeeze_excite import ACTIVATIONS, NormAct, SqueezeExcite

DATA = Path(__file__).resolve().parents[1] / "data" / "lineage"
SMALL = {
    "expansions": (1, 2), "widths": (8, 8), "repeats": (1, 2), "strides": (1, 2), "kernels": (3, 5), "stem": 8,
    "features": 6, "num_classes": 3, "image_size": (9, 12),
}  # fmt: skip


def weights_of(seed=0, **fields):
    """Random weights by timm's names."""
    network = EfficientNet(EfficientNetConfig(**{**SMALL, **fields}), None, "float64")
    views = published_layers.views(network, names=recorded.TO_TIMM)
    weights = random_weights({name: x.shape for name, x in views.items()}, np.random.default_rng(seed))
    return as_kernels(weights, "classifier")


@pytest.mark.parametrize(("name", "count"), [("efficientnet", 14), ("mbconv_train", 17)])
def test_the_recordings_of_timms_code(name, count):
    case = verify.open_case(DATA / name)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == count


def padded_as_in_tensorflow(*given):
    return real_depthwise(given[0], given[1], given[2], EfficientNetConfig(padding="same"), given[4])


def weighed_by_what_is_not_squeezed(self, x):
    return x * F.sigmoid(self.expand(ACTIVATIONS[self.act](self.reduce(x))))


def relu_inside(self, x):
    return x * F.sigmoid(self.expand(F.relu(self.reduce(x.mean(axis=(1, 2), keepdims=True)))))


def active_at_the_end(self, x, rng=None):
    y = F.silu(self.bn3(self.conv_pwl(self.se(self.bn2(self.conv_dw(self.bn1(self.conv_pw(x))))))))
    return x + y if self.adds else y


def never_added(self, x, rng=None):
    return self.bn3(self.conv_pwl(self.se(self.bn2(self.conv_dw(self.bn1(self.conv_pw(x)))))))


def squeezed_before_its_norm(self, x, rng=None):
    y = self.bn3(self.conv_pwl(self.bn2(self.se(self.conv_dw(self.bn1(self.conv_pw(x)))))))
    return x + y if self.adds else y


def moved_the_other_way(self, *given, **named):
    real_init(self, *given, **named)
    self.momentum = 1 - self.momentum


def biased(x, scale, bias, running=None, eps=1e-5, found=None):
    result = real_norm(x, scale, bias, running, eps, found)
    n = x[..., 0].data.size
    if found:
        found["variance"] = found["variance"] * ((n - 1) / n)
    return result


real_depthwise, real_init, real_norm = efficientnet.depthwise, NormAct.__init__, F.batch_norm
WRONG = [
    (efficientnet, "depthwise", padded_as_in_tensorflow, "efficientnet", "a/output"),
    (SqueezeExcite, "forward", weighed_by_what_is_not_squeezed, "efficientnet", "a/output"),
    (SqueezeExcite, "forward", relu_inside, "efficientnet", "a/output"),
    (MBConv, "forward", active_at_the_end, "efficientnet", "a/output"),
    (MBConv, "forward", never_added, "efficientnet", "a/tap/blocks.1.1"),
    (MBConv, "forward", squeezed_before_its_norm, "efficientnet", "a/output"),
    (NormAct, "__init__", moved_the_other_way, "mbconv_train", "after/bn1.running_mean"),
    (F, "batch_norm", biased, "mbconv_train", "after/bn2.running_var"),
    (MBConv, "forward", active_at_the_end, "mbconv_train", "a/output"),
]


@pytest.mark.parametrize(
    ("place", "name", "mistake", "case", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x))
)
def test_mistakes_are_seen(monkeypatch, place, name, mistake, case, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(DATA / case))


def test_squeezing_by_the_share_of_the_expanded_channels_does_not_fit(monkeypatch):
    real = efficientnet.squeeze
    monkeypatch.setattr(efficientnet, "squeeze", lambda channels, squeezed, dtype: real(channels, channels / 4, dtype))
    with pytest.raises(CheckpointError, match="wrong shape"):
        list(verify.compare(verify.open_case(DATA / "efficientnet")))


OTHERS = {
    "as timm trains it": {},
    "as TensorFlow's": {"padding": "same", "norm_eps": 1e-3},
    "even sides, TensorFlow's": {"padding": "same", "norm_eps": 1e-3, "image_size": (8, 8)},
    "other strides and a channel": {"strides": (2, 1), "channels": 1},
}


def text_of(config):
    """As in the recordings."""
    stages = [f"ir_r1_k3_s{stride}_e2_c8_se0.25" for stride in config.strides]
    return f"{' | '.join(stages)}, pad_type={config.padding}; BatchNorm eps {config.norm_eps}"


@pytest.mark.parametrize("fields", OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, fields):
    config, weights = EfficientNetConfig(**{**SMALL, **fields}), weights_of(**fields)
    images = np.random.default_rng(1).normal(size=(2, config.channels, *config.image_size))
    how = {"strides": config.strides, "padding": config.padding, "eps": config.norm_eps, "seen": None}
    slow = partial(by_hand, config=how)
    agree(tmp_path, "efficientnet", text_of(config), weights, slow, images, recorded.recompute)


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_training_agrees_with_the_slow_implementation(tmp_path, padding):
    config, weights = EfficientNetConfig(**SMALL, padding=padding), weights_of()
    images, seen = np.random.default_rng(1).normal(size=(3, 3, 9, 12)), {}
    how = {"strides": config.strides, "padding": padding, "eps": 1e-5, "seen": seen}
    output, inside = by_hand(images, weights, how)
    found = {"a/image": images, "a/labels": np.array([0, 2, 1]), "a/output": output}
    after = "a/after" if padding == "same" else "after"
    found |= {f"a/tap/{name}": x for name, x in inside.items()} | {f"{after}/{name}": x for name, x in seen.items()}
    case = write_case(tmp_path, "efficientnet", text_of(config), weights, found)
    assert wrong_arrays(case) == []
    assert sum("after/" in name for name in case.arrays) == 2 * 10


@pytest.mark.parametrize(
    ("config", "ends", "expansion", "stride", "padding"),
    [
        ("InvertedResidual(4,8,k5,s2,exp 2)", (4, 8), 2, 2, "symmetric"),
        ("ir_r1_k5_s1_e2_c4_se0.25, pad_type=same", (4, 4), 2, 1, "same"),
        ("DepthwiseSeparableConv(4,4,k5,stride=2), pad_type=same", (4, 4), 1, 2, "same"),
    ],
)
def test_one_block_agrees_with_the_slow_implementation(tmp_path, config, ends, expansion, stride, padding):
    shape = EfficientNetConfig(squeeze=0.5)
    block = (
        MBConv(ends, ends[0] * expansion, 3, 5, stride, shape, 0.0, "float64")
        if expansion > 1
        else Separable(ends, 5, stride, shape, 0.0, "float64")
    )
    views = published_layers.views(block, names=recorded.TO_TIMM)
    weights = random_weights({name: x.shape for name, x in views.items()}, np.random.default_rng(0))

    def slow(images, weights):
        return by_hand_block(images, weights, "", stride, padding, 1e-5), {}

    images = np.random.default_rng(1).normal(size=(2, 4, 6, 7))
    agree(tmp_path, "mbconv", config, as_kernels(weights), slow, images, recorded.recompute)


COUNTS = {
    "b0": 5_288_548, "b1": 7_794_184, "b2": 9_109_994, "b3": 12_233_232, "b4": 19_341_616, "b5": 30_389_784,
    "b6": 43_040_704, "b7": 66_347_960, "l2": 480_309_308,
}  # fmt: skip


def test_published_numbers_of_parameters():
    names = {f"efficientnet-{name}": count for name, count in COUNTS.items()}
    assert {name: build(config_of(named_fields(name), name), None).num_parameters() for name in names} == names
    assert SCALES.keys() == COUNTS.keys()


def test_widths_are_rounded_to_eights_but_not_by_a_tenth_down():
    assert [rounded(x) for x in (16 * 1.1, 24 * 1.2, 3, 12.0, 11.9, 19.9, 32 * 1.4, 24 * 1.1)] == [
        16, 32, 8, 16, 16, 24, 48, 24
    ]  # fmt: skip


def test_the_first_values():
    network = EfficientNet(EfficientNetConfig(**{**SMALL, "stem": 64, "features": 512}), 3)
    assert network.conv_stem.weight.data.std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.1)
    assert network.conv_head.weight.data.std() == pytest.approx((2 / 512) ** 0.5, rel=0.1)
    assert network.blocks[0].inside[0].conv_dw.weight.data.std() == pytest.approx((2 / 9) ** 0.5, rel=0.1)
    assert not network.eval()(np.ones((1, 9, 12, 3))).data.any()


def test_blocks_are_left_out_more_often_towards_the_end():
    config = EfficientNetConfig(**{**SMALL, "repeats": (1, 3)}, drop_path=0.4)
    rates = [block.drop_path.rate for stage in EfficientNet(config, None).blocks for block in stage.inside]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])


def test_squeeze_and_excitation_of_one_image():
    layer, x = SqueezeExcite(2, 1, np.random.default_rng(0), "float64"), np.arange(12.0).reshape(1, 2, 3, 2)
    hidden = x.mean(axis=(0, 1, 2)) @ layer.reduce.weight.data[:, 0]
    factors = sigmoid(hidden * sigmoid(hidden) * layer.expand.weight.data[0])
    assert np.allclose(layer(layer.tensor(x)).data, x * factors)


def test_published_weights_load_with_the_padding_of_their_code(tmp_path):
    weights = weights_of()
    counts = {f"{name[:-12]}num_batches_tracked": np.array(7) for name in weights if name.endswith("running_mean")}
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "model.safetensors"
    write_safetensors(path, {**weights, **counts}, {})
    images = np.random.default_rng(0).normal(size=(2, 3, 8, 8))
    for name, padding, eps in (("efficientnet_b0", "symmetric", 1e-5), ("tf_efficientnet_b0", "same", 1e-3)):
        facts = {"architecture": name, "pretrained_cfg": {"input_size": [3, 8, 8]}}
        path.with_name("config.json").write_text(json.dumps(facts), encoding="utf-8")
        network = recorded.open_pretrained(path, "float64", strides=(1, 2)).eval()
        assert (network.config.padding, network.config.norm_eps) == (padding, eps)
        how = {"strides": (1, 2), "padding": padding, "eps": eps, "seen": None}
        assert np.allclose(network(np.moveaxis(images, 1, -1)).data, by_hand(images, weights, how)[0], atol=1e-12)
    with pytest.raises(CheckpointError, match="has 2 stages: pass strides"):
        recorded.open_pretrained(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": (8,)}, "one number each to a stage"),
        ({"strides": (0, 1)}, "at least 1"),
        ({"kernels": (3, 4)}, "odd"),
        ({"squeeze": -1.0}, "squeeze"),
        ({"momentum": 1.5}, "momentum"),
        ({"norm_eps": 0.0}, "norm_eps"),
        ({"dropout": 1.0}, "dropout"),
        ({"drop_path": -0.1}, "drop_path"),
        ({"padding": "valid"}, "expected one of symmetric, same"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        EfficientNetConfig(**{**SMALL, **fields})


def test_dropout_stands_before_the_head_and_features_before_dropout():
    tap, network = {}, EfficientNet(EfficientNetConfig(**SMALL, dropout=0.5))
    network.classifier.weight.data[...] = 1
    with batch_statistics() as seen:
        logits = network(np.random.default_rng(0).normal(size=(4, 9, 12, 3)), tap, np.random.default_rng(0))
    assert [tap["stage1"].shape, tap["features"].shape] == [(4, 3, 3, 8), (4, 6)]
    assert not np.allclose(logits.data[:, 0], tap["features"].data.sum(axis=1))
    assert len(seen) == 10
