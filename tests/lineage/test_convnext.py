"""ConvNeXt: held to a recording of timm's code, and to a slow second implementation."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from convolutions_by_hand import convnext as by_hand
from convolutions_by_hand import random_weights
from networks_by_hand import agree
from recordings import wrong_arrays

from minivit import functional as F
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import convnext, published_layers, verify
from minivit.lineage.convnext import GRN, VARIANTS, Block, Classifier, ConvNeXt, ConvNeXtConfig
from minivit.lineage.recorded import convnext as recorded
from minivit.models.archive import write_safetensors
from minivit.models.families import build, config_of, named_fields
from minivit.nn import LayerNorm
from minivit.tensor import Tensor, grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "convnext"
SMALL = {"depths": (1, 2), "dims": (4, 6), "strides": (1, 2), "patch_size": 2, "num_classes": 3, "image_size": (8, 12)}


def weights_of(seed=0, **fields):
    """Random weights by timm's names."""
    network = ConvNeXt(ConvNeXtConfig(**{**SMALL, **fields}), None, "float64")
    views = published_layers.views(network, names=recorded.TO_TIMM)
    return random_weights({name: x.shape for name, x in views.items()}, np.random.default_rng(seed))


def official(name):
    """timm's name of an array as the official code has it."""
    if name.startswith("stem."):
        return name.replace("stem.", "downsample_layers.0.")
    parts = name.split(".")
    if parts[2] == "downsample":
        return f"downsample_layers.{parts[1]}.{parts[3]}.{parts[4]}"
    for theirs, ours in (
        ("blocks.", ""), ("conv_dw", "dwconv"), ("mlp.fc", "pwconv"), ("mlp.grn.weight", "grn.gamma"),
        ("mlp.grn.bias", "grn.beta"), ("head.norm", "norm"), ("head.fc", "head"),
    ):  # fmt: skip
        name = name.replace(theirs, ours)
    return name


def of_hub(name):
    """timm's name of an array as Hugging Face has it."""
    for theirs, ours in (
        ("stem.0", "embeddings.patch_embeddings"), ("stem.1", "embeddings.layernorm"), ("stages.", "encoder.stages."),
        ("downsample.", "downsampling_layer."), ("blocks.", "layers."), ("conv_dw", "dwconv"),
        (".norm.", ".layernorm."), ("mlp.fc", "pwconv"), ("mlp.grn", "grn"), (".gamma", ".layer_scale_parameter"),
        ("head.layernorm", "layernorm"),
    ):  # fmt: skip
        name = name.replace(theirs, ours)
    return name.replace("head.fc", "classifier") if name.startswith("head.fc") else f"convnextv2.{name}"


def test_the_recording_of_timms_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 20


def channels_alone(self, x):
    norm = F.sqrt((x * x).sum(axis=-1, keepdims=True))
    return x + self.bias + self.weight * (x * (norm / (norm.mean(axis=(1, 2), keepdims=True) + 1e-6)))


def without_residual(self, x):
    return real_grn(self, x) - x


def norm_first(self, x, rng=None):
    return x + self.mlp(self.conv_dw(self.norm(x))) * self.gamma


def without_gamma(self, x, rng=None):
    return x + self.mlp(self.norm(self.conv_dw(x)))


def tanh_form(x, form):
    return real_gelu(x)


def over_places_too(self, x):
    return F.group_norm(x, self.scale, self.bias, 1, self.eps)


def norm_before_mean(self, x, tap=None):
    return self.fc(self.norm(x).mean(axis=(1, 2)))


real_grn, real_gelu = GRN.forward, F.gelu
WRONG = [
    (Block, "forward", norm_first, "a/output"),
    (Block, "forward", without_gamma, "a/grad/stages.0.blocks.0.gamma"),
    (F, "gelu", tanh_form, "a/output"),
    (LayerNorm, "forward", over_places_too, "a/tap/stages.0.blocks.0.norm"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


def test_mirrored_windows_are_seen():
    """Rows and columns of a window exchanged: a shape cannot tell."""
    case = verify.open_case(CASE)
    case.weights = {name: x.swapaxes(2, 3) if "conv_dw.w" in name else x for name, x in case.weights.items()}
    assert "a/output" in wrong_arrays(case)


OTHERS = {
    "the first version": {"layer_scale": 1.0},
    "the second": {"grn": True, "layer_scale": None},
    "small windows, no biases": {"kernel": 3, "conv_bias": False},
    "a place left over, another patch": {"image_size": (11, 9), "patch_size": 1, "channels": 1},
    "norm before the mean, stride 2 at once": {"norm_first": True, "strides": (2, 2), "dims": (4, 4), "norm_eps": 1e-3},
}


@pytest.mark.parametrize("fields", OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, fields):
    config, weights = ConvNeXtConfig(**{**SMALL, **fields}), weights_of(**fields)
    images = np.random.default_rng(1).normal(size=(2, config.channels, *config.image_size))
    slow = partial(by_hand, config={"eps": config.norm_eps, "head_eps": config.norm_eps})
    agree(tmp_path, "convnext", {"norm_eps": config.norm_eps}, weights, slow, images, recorded.recompute)


@pytest.mark.parametrize(
    ("place", "wrong"), [(GRN, channels_alone), (GRN, without_residual), (Classifier, norm_before_mean)]
)
def test_mistakes_of_the_second_version_are_seen(tmp_path, monkeypatch, place, wrong):
    monkeypatch.setattr(place, "forward", wrong)
    with pytest.raises(AssertionError):
        test_other_configurations_agree_with_the_slow_implementation(tmp_path, OTHERS["the second"])


@pytest.mark.parametrize(("rename", "last"), [(official, 1e-6), (of_hub, 1e-2)])
@pytest.mark.parametrize("version", ["the first version", "the second"])
def test_other_names_of_the_same_arrays(tmp_path, rename, last, version):
    weights = weights_of(**OTHERS[version])
    if rename is official and "stages.0.blocks.0.mlp.grn.weight" in weights:
        weights = {n: x.reshape(1, 1, 1, -1) if ".grn." in n else x for n, x in weights.items()}
    names = {name: rename(name) for name in weights}
    assert len(set(names.values())) == len(names)
    slow = partial(by_hand, config={"eps": 1e-6, "head_eps": last})

    def without_maps(images, weights):
        return slow(images, weights)[0], {}

    images = np.random.default_rng(1).normal(size=(2, 3, 8, 12))
    config = {"layer_norm_eps": last} if rename is of_hub else {}
    agree(tmp_path, "convnext", config, weights, without_maps, images, recorded.recompute, names)


def test_modules_by_other_names():
    names = {
        "downsample_layers.0": "stem", "downsample_layers.1": "stages.1.downsample", "stages.1.1": "stages.1.blocks.1",
        "stages.1.1.pwconv1": "stages.1.blocks.1.mlp.fc1", "norm": "head.norm", "head": "head",
        "convnext.embeddings": "stem", "convnext.encoder.stages.1.layers.0": "stages.1.blocks.0",
        "convnextv2.layernorm": "head.norm",
        "convnext.encoder.stages.0.layers.0.layernorm": "stages.0.blocks.0.norm", "classifier": "head.fc",
    }  # fmt: skip
    case = verify.open_case(CASE)
    case.arrays |= {f"a/tap/{name}": np.zeros(0) for name in names}
    found = recorded.recompute(case)
    assert [name for name in names if found[f"a/tap/{name}"] is not found[f"a/tap/{names[name]}"]] == []


def test_channels_may_come_last(tmp_path):
    weights, images = weights_of(), np.random.default_rng(1).normal(size=(2, 8, 12, 3))

    def slow(images, weights):
        return by_hand(np.moveaxis(images, -1, 1), weights, {"eps": 1e-6, "head_eps": 1e-6})[0], {}

    agree(tmp_path, "convnext", {}, weights, slow, images, recorded.recompute, layout="NHWC")


COUNTS = {
    "convnext-t": 28_589_128, "convnext-s": 50_223_688, "convnext-b": 88_591_464, "convnext-l": 197_767_336,
    "convnext-xl": 350_196_968, "convnextv2-atto": 3_708_400, "convnextv2-femto": 5_233_240,
    "convnextv2-pico": 9_066_280, "convnextv2-nano": 15_623_800, "convnextv2-tiny": 28_635_496,
    "convnextv2-base": 88_717_800, "convnextv2-large": 197_956_840, "convnextv2-huge": 660_289_640,
}  # fmt: skip


def test_published_numbers_of_parameters():
    found = {name: build(config_of(named_fields(name), name), None).num_parameters() for name in COUNTS}
    assert found == COUNTS
    assert {name for name in VARIANTS if "small" not in name} == COUNTS.keys()


def test_the_first_values():
    network = ConvNeXt(ConvNeXtConfig(**SMALL), 3)
    assert not network(np.ones((1, 8, 12, 3))).data.any()
    block = network.stages[1].blocks[0]
    assert block.gamma.data == pytest.approx(1e-6)
    assert block.mlp.fc1.weight.data.std() == pytest.approx(0.02, rel=0.2)
    assert GRN(3, "float64")(Tensor(x := np.ones((1, 2, 2, 3)))).data == pytest.approx(x)


def test_channels_that_are_zero_have_a_gradient():
    """The norm has no derivative at 0; it counts as 0, as in PyTorch."""
    grn, x = GRN(2, "float32"), Tensor(np.zeros((1, 2, 2, 2), np.float32), requires_grad=True)
    grn.weight.data[...] = 1
    gradients = grad(grn(x).sum(), [x, grn.weight, grn.bias])
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("rename", [str, official, of_hub])
def test_published_weights_load(tmp_path, rename):
    weights = {name: x.astype(np.float32) for name, x in weights_of(grn=True, layer_scale=None).items()}
    write_safetensors(tmp_path / "model.safetensors", {rename(name): x for name, x in weights.items()}, {})
    facts = {"layer_norm_eps": 1e-6, "pretrained_cfg": {"input_size": [3, 8, 12]}}
    (tmp_path / "config.json").write_text(json.dumps(facts), encoding="utf-8")
    network = recorded.open_pretrained(tmp_path / "model.safetensors")
    assert (network.config.grn, network.config.image_size, network.config.strides) == (True, (8, 12), (1, 2))
    images = np.random.default_rng(0).normal(size=(2, 3, 8, 12)).astype(np.float32)
    expected, _ = by_hand(images, weights, {"eps": 1e-6, "head_eps": 1e-6})
    assert np.allclose(network(np.moveaxis(images, 1, -1)).data, expected, atol=1e-5)


def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path):
    weights = weights_of()
    path = tmp_path / "model.safetensors"
    for change, message in (
        ({"stem.1.weight": np.zeros((4, 4, 3, 3))}, "stem is one convolution"),
        ({"stages.0.blocks.0.gamma": np.zeros(5)}, "wrong shape"),
        ({"stages.0.blocks.0.norm.bias": None}, "missing: stages.0.blocks.0.norm.bias"),
        ({"stem.0.weight": None}, "stem.0.weight"),
        ({"more": np.zeros(1)}, "unexpected: more"),
    ):
        changed = {name: x for name, x in {**weights, **change}.items() if x is not None}
        write_safetensors(path, changed, {})
        with pytest.raises(CheckpointError, match=message):
            recorded.open_pretrained(path)


@pytest.mark.parametrize("act", ["gelu_new", "relu"])
def test_another_activation_is_refused(act):
    with pytest.raises(CheckpointError, match=f"hidden_act is {act}, expected"):
        recorded.build({"hidden_act": act}, weights_of(), "test")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depths": (1,)}, "one each to a stage"),
        ({"kernel": 4}, "odd"),
        ({"image_size": 2}, "too small"),
        ({"patch_size": 0}, "patch_size is 0"),
        ({"head_eps": 0.0}, "head_eps is 0.0, expected 0 < head_eps < 1"),
        ({"drop_path": 1.0}, "drop_path is 1.0"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        ConvNeXtConfig(**{**SMALL, **fields})


def test_drop_path_rises_from_block_to_block():
    config = ConvNeXtConfig(**{**SMALL, "depths": (2, 3)}, drop_path=0.4)
    rates = [block.drop_path.rate for stage in ConvNeXt(config, None).stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_maps_and_features_are_shown():
    tap, network = {}, convnext.ConvNeXt(ConvNeXtConfig(**{**SMALL, "num_classes": 0}))
    features = network(np.ones((2, 8, 12, 3)), tap)
    assert {name: x.shape for name, x in tap.items()} == {
        "stem": (2, 4, 6, 4), "stage0": (2, 4, 6, 4), "stage1": (2, 2, 3, 6), "features": (2, 6)
    }  # fmt: skip
    assert features is tap["features"]
