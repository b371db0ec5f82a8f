"""DINOv2's encoder: held to a recording of transformers and to a slow implementation; mistakes are seen; its files."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from dinov2_by_hand import WIDTH, arrays, by_hand, hub
from recordings import write_case, wrong_arrays
from sizes_by_hand import slopes

from minivit import functional as F
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import dinov2, verify
from minivit.lineage.dinov2 import DINOv2Config, DINOv2Network, fields
from minivit.lineage.recorded import dinov2 as recorded
from minivit.models import families
from minivit.models.archive import write_safetensors
from minivit.tensor import grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "dinov2"
COUNTS = {
    "vits14": 22_056_576, "vits14_reg": 22_058_112, "vitb14": 86_580_480, "vitb14_reg": 86_583_552,
    "vitl14": 304_368_640, "vitl14_reg": 304_372_736, "vitg14": 1_136_480_768, "vitg14_reg": 1_136_486_912,
}  # fmt: skip


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) > 25


@pytest.mark.parametrize(("registers", "gated"), [(0, False), (3, True)])
@pytest.mark.parametrize("resize", ["offset", "size", "antialias"])
def test_a_slow_implementation_agrees(registers, gated, resize):
    w, rng = arrays(registers, gated, grid=(3, 2)), np.random.default_rng(1)
    network = recorded.build({"image_size": (6, 6), "num_attention_heads": 2}, w, resize=resize).eval()
    for size in ((6, 6), (10, 3), (4, 12)):  # its own, taller, wider
        images = rng.normal(size=(2, *size, 2))
        mask = rng.integers(0, 2, (2, size[0] // 2 * size[1] // 3))
        for masked in (None, mask):
            expected = [by_hand(w, images[i], (3, 2), resize, masked if masked is None else mask[i]) for i in range(2)]
            assert np.allclose(network.tokens(images, masked).data, expected, rtol=0, atol=1e-12)


def registers_case(folder, names=hub):
    """A recording by the slow implementation: registers, SwiGLU, masks, another grid; gradients as slopes."""
    w, rng = arrays(2, True, grid=(3, 2)), np.random.default_rng(2)
    found = {}
    for group, size in (("square", (6, 6)), ("masked", (6, 6)), ("wide", (4, 12))):
        images = rng.normal(size=(2, *size, 2))
        count = size[0] // 2 * size[1] // 3
        mask = rng.integers(0, 2, (2, count)) if group == "masked" else None
        cotangent = rng.normal(size=(2, 3 + count, WIDTH))

        def tokens(weights, images=images, mask=mask):
            each = [None, None] if mask is None else mask
            return np.array(
                [by_hand(weights, *one, (3, 2), "antialias", m) for *one, m in zip(images, each, strict=True)]
            )

        found[f"{group}/image"], found[f"{group}/cotangent"] = np.moveaxis(images, -1, 1), cotangent
        found |= {} if mask is None else {f"{group}/mask": mask}
        found[f"{group}/output"] = tokens(w)
        found[f"{group}/pooled"] = found[f"{group}/output"][:, 0]
        found[f"{group}/loss"] = np.array((found[f"{group}/output"] * cotangent).sum())
    config = {"image_size": [6, 6], "patch_size": 2, "num_attention_heads": 2, "num_register_tokens": 2}
    return write_case(folder, "dinov2_registers", config, names(w), found)


@pytest.mark.parametrize("names", [hub, dict], ids=["hub", "official"])
def test_registers_and_swiglu_in_both_layouts(tmp_path, names):
    assert wrong_arrays(registers_case(tmp_path, names)) == []


def test_gradients_of_registers_and_swiglu():
    w, rng = arrays(2, True, grid=(3, 2)), np.random.default_rng(3)
    images, cotangent, mask = (
        rng.normal(size=(1, 4, 12, 2)),
        rng.normal(size=(1, 11, WIDTH)),
        np.arange(8)[None] % 3 < 1,
    )
    network = recorded.build({"image_size": (6, 6), "num_attention_heads": 2}, w).eval()
    names, learning = zip(*network.named_parameters(), strict=True)
    gradients = grad((network.tokens(images, mask) * cotangent).sum(), learning)
    named = recorded.packed(recorded.views(dict(zip(names, gradients, strict=True)), network.config))
    assert {"blocks.1.mlp.w12.weight", "register_tokens", "mask_token"} <= named.keys()

    def loss(weights):
        return (by_hand(weights, images[0], (3, 2), "antialias", mask[0]) * cotangent[0]).sum()

    for name, way, slope in slopes(loss, w, w):
        assert (named[name] * way).sum() == pytest.approx(slope, rel=1e-5, abs=1e-6), name


# mistakes


def registers_with_position(self, images, mask=None):
    x = ORIGINAL(self, images, mask)
    count = self.config.register_tokens
    row = self.position_embedding[:, :1]
    return F.concat(x[:, :1], x[:, 1 : 1 + count] + row, x[:, 1 + count :], axis=1) if count else x


def registers_last(self, images, mask=None):
    x, count = ORIGINAL(self, images, mask), self.config.register_tokens
    return F.concat(x[:, :1], x[:, 1 + count :], x[:, 1 : 1 + count], axis=1)


def masked_after_positions(self, images, mask=None):
    x = ORIGINAL(self, images)
    if mask is None:
        return x
    before = 1 + self.config.register_tokens
    hidden = np.concatenate([np.zeros((len(mask), before)), mask], axis=1).astype(bool)
    return F.where(hidden[..., None], self.mask_token, x)


def mask_turned(self, images, mask=None):
    return ORIGINAL(self, images, None if mask is None else 1 - mask)


ORIGINAL = DINOv2Network.embed


def with_method(name):
    return {**dinov2.METHODS, "size": dinov2.METHODS[name], "antialias": dinov2.METHODS[name]}


@pytest.mark.parametrize("wrong", [registers_with_position, registers_last, masked_after_positions, mask_turned])
def test_a_wrong_order_of_tokens_is_seen(monkeypatch, tmp_path, wrong):
    monkeypatch.setattr(DINOv2Network, "embed", wrong)
    assert "masked/output" in wrong_arrays(registers_case(tmp_path))


@pytest.mark.parametrize(("case", "method"), [("plain", "offset"), ("plain", "antialias"), ("registers", "size")])
def test_another_way_to_resize_is_seen(monkeypatch, tmp_path, case, method):
    monkeypatch.setattr(dinov2, "METHODS", with_method(method))
    found = wrong_arrays(verify.open_case(CASE) if case == "plain" else registers_case(tmp_path))
    assert "wide/output" in found
    assert "square/output" not in found


def test_gate_and_value_exchanged_are_seen(monkeypatch, tmp_path):
    monkeypatch.setattr(F, "swiglu", lambda gate, value, right=F.swiglu: right(value, gate))
    assert "square/output" in wrong_arrays(registers_case(tmp_path))


@pytest.mark.parametrize("change", [{"hidden_act": "gelu_new"}, {"layer_norm_eps": 1e-3}, {"num_attention_heads": 4}])
def test_a_wrong_configuration_is_seen(change):
    case = verify.open_case(CASE)
    case.config |= change
    assert "square/output" in wrong_arrays(case)


# shapes and files


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_the_published_numbers_of_parameters(name, count):
    config = families.config_of({**families.named_fields(f"dinov2_{name}"), "num_classes": 0}, name)
    assert families.build(config, None).num_parameters() == count


def test_a_classifier_reads_the_class_token_and_the_mean_over_patches():
    config = families.config_of({**families.named_fields("dinov2-mini-reg"), "num_classes": 3}, "test")
    config = dataclasses.replace(config, width=8, depth=1, heads=2, mlp_width=8, image_size=8)
    network, images = families.build(config, 0).eval(), np.random.default_rng(0).normal(size=(2, 8, 8, 3))
    assert np.ptp(network(images).data) == 0
    network.head.weight.data[...] = np.random.default_rng(1).normal(size=(16, 3))
    tap = {}
    logits = network(images, tap).data
    tokens = network.tokens(images).data
    read = np.concatenate([tokens[:, 0], tokens[:, 5:].mean(axis=1)], axis=1)
    assert np.allclose(logits, read @ network.head.weight.data, atol=1e-5)
    assert np.array_equal(tap["features"].data, tokens[:, 0])
    network.recompute_blocks = True
    assert np.array_equal(network.train()(images, rng=np.random.default_rng(0)).data, logits)


def test_all_blocks_are_dropped_alike():
    network = DINOv2Network(DINOv2Config(depth=3, width=8, heads=2, drop_path=0.2), None)
    assert [block.drop_path.rate for block in network.blocks] == [0.2, 0.2, 0.2]


def test_published_files_are_read(tmp_path):
    w, images = arrays(3, True, classes=3), np.random.default_rng(0).normal(size=(2, 4, 6, 2)).astype("float32")
    chunks = {re.sub(r"^blocks\.(\d)", r"blocks.0.\1", name): x for name, x in w.items()}
    layouts = {
        "official": w,
        "chunks": chunks,
        "teacher": {
            **{f"teacher.backbone.{name}": x for name, x in w.items()},
            "teacher.dino_head.mlp.0.bias": w["head.bias"],
        },
        "hub": {name if "classifier" in name else f"dinov2_with_registers.{name}": x for name, x in hub(w).items()},
    }
    stated = {"model_type": "dinov2_with_registers", "image_size": 4, "num_attention_heads": 2}
    found = {}
    for name, weights in layouts.items():
        (tmp_path / name).mkdir()
        path = tmp_path / name / "model.safetensors"
        write_safetensors(path, {key: np.ascontiguousarray(x) for key, x in weights.items()}, {})
        if name == "hub":
            config = {**stated, "image_size": [4, 6]}
            (path.parent / "config.json").write_text(json.dumps(config), encoding="utf-8")
            found[name] = recorded.open_pretrained(path)
        else:
            found[name] = recorded.open_pretrained(path, heads=2)
    logits = [network.eval()(images).data for network in found.values()]
    assert np.ptp(logits, axis=0).max() == 0
    assert {network.config.resize for network in found.values()} == {"antialias"}
    w = arrays()
    write_safetensors(path := tmp_path / "plain.safetensors", w, {})
    assert recorded.open_pretrained(path, heads=2).config.resize == "offset"
    assert recorded.build({"num_attention_heads": 2}, hub(w)).config.resize == "size"


def test_what_does_not_fit_is_refused_in_one_line(tmp_path):
    w = arrays(gated=True)
    w["blocks.0.mlp.w12.weight"] = w["blocks.0.mlp.w12.weight"][:-1]
    with pytest.raises(CheckpointError, match=r"has 15 rows, which are no gates and values"):
        recorded.build({}, w)
    with pytest.raises(ConfigError, match=r'unknown model "dinov2_vith14".*known: dinov2_vits14'):
        fields("dinov2_vith14")
    with pytest.raises(ConfigError, match="resize"):
        DINOv2Config(resize="none")
