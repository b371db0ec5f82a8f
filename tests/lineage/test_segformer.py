"""SegFormer: held to recorded outputs of published code, and to a slow second implementation."""

import json
import re
from pathlib import Path

import dense_by_hand as by_hand
import numpy as np
import pytest
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import segformer, verify
from minivit.lineage.mit import VARIANTS, MiT, MiTConfig, MixFFN, Shrink
from minivit.lineage.recorded import segformer as recorded
from minivit.lineage.segformer import MixHead, SegFormer, SegFormerConfig
from minivit.models import ViT, ViTConfig, families
from minivit.models.archive import write_safetensors
from minivit.nn import BatchNorm
from minivit.optim import AdamW
from minivit.update.step import step

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "segformer"
PARAMETERS = {  # of the encoder, and with the head of 150 classes
    "mit-b0": (3_319_392, 3_752_694, 256),
    "mit-b1": (13_151_424, 13_715_798, 256),
    "mit-b2": (24_196_288, 27_461_974, 768),
    "mit-b3": (44_072_128, 47_337_814, 768),
    "mit-b4": (60_842_688, 64_108_374, 768),
    "mit-b5": (81_443_008, 84_708_694, 768),
}


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 22


real_resize = F.resize


def with_corners(x, size, method="bilinear"):
    return real_resize(x, size, "align_corners")


def first_to_last(self, maps):
    size = maps[0].shape[1:3]
    equal = [F.resize(own(x), size, "bilinear") for own, x in zip(self.project, maps, strict=True)]
    return self.fuse(F.concat(*equal, axis=3))


def after_gelu(self, x):
    return self.fc2(self.depthwise(F.gelu(self.fc1(x), form="erf")))


def without_depthwise(self, x):
    return self.fc2(F.gelu(self.fc1(x), form="erf"))


def with_border(self, x):
    if self.conv.stride == self.conv.weight.shape[0]:
        self.conv.padding = "same"
    return self.norm(self.conv(x))


def always_of_the_batch(self, x):
    return F.batch_norm(x, self.scale, self.bias, eps=self.eps)


def always_running(self, x):
    return F.batch_norm(x, self.scale, self.bias, (self.running_mean.data, self.running_variance.data), self.eps)


WRONG = [
    (F, "resize", with_corners, "rect/logits"),
    (MixHead, "fused", first_to_last, "rect/logits"),
    (MixFFN, "forward", after_gelu, "rect/stage0"),
    (MixFFN, "forward", without_depthwise, "rect/stage0"),
    (Shrink, "forward", with_border, "rect/stage0"),
    (BatchNorm, "forward", always_of_the_batch, "rect/logits"),
    (BatchNorm, "forward", always_running, "train_bn/logits"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


def test_the_epsilon_of_transformers_is_another():
    case = verify.open_case(CASE)
    official, theirs = (case.arrays[f"square/{name}logits"] for name in ("", "transformers_eps_"))
    assert 1e-8 < abs(official - theirs).max() < 1e-4


@pytest.mark.parametrize("name", PARAMETERS)
def test_numbers_of_parameters(name):
    encoder, whole, width = PARAMETERS[name]
    mit = MiT(MiTConfig(**VARIANTS[name], num_classes=0), None)
    assert mit.num_parameters() == encoder
    assert SegFormer(SegFormerConfig(150, width), mit, None).num_parameters() == whole
    assert families.named_fields(name) == {"name": "segformer", **VARIANTS[name]}


def conv(x, kernel, bias, stride, border, groups=1):
    """(h, w, C), kernel (E, C / groups, k, k): one place and one filter after another."""
    filters, inner, k, _ = kernel.shape
    x = np.pad(x, ((border, border), (border, border), (0, 0)))
    rows, columns = ((side - k) // stride + 1 for side in x.shape[:2])
    y = np.empty((rows, columns, filters))
    for i in range(rows):
        for j in range(columns):
            seen = x[i * stride : i * stride + k, j * stride : j * stride + k]
            for e in range(filters):
                start = e // (filters // groups) * inner
                y[i, j, e] = np.einsum("yxc,cyx->", seen[..., start : start + inner], kernel[e]) + bias[e]
    return y


def slow(weights, image, config):
    """(height, width, C) -> the logits of the first map's size. By the names of transformers 5."""
    x, maps = image, []
    for i, heads in enumerate(config["num_attention_heads"]):
        at = f"segformer.stages.{i}."
        kernel = weights[f"{at}patch_embeddings.proj.weight"]
        border = kernel.shape[-1] // 2
        x = conv(x, kernel, weights[f"{at}patch_embeddings.proj.bias"], config["strides"][i], border)
        x = by_hand.norm(x, weights, f"{at}patch_embeddings.layer_norm")
        width = x.shape[-1]
        depth = 1 + max(int(m[1]) for n in weights if (m := re.match(rf"{re.escape(at)}blocks\.(\d+)", n)))
        for b in range(depth):
            own = f"{at}blocks.{b}."
            context = normed = by_hand.norm(x, weights, f"{own}layernorm_before", 1e-6)
            reduce = f"{own}attention.sequence_reduction."
            if f"{reduce}layer_norm.bias" in weights:
                kernel = weights[f"{reduce}sequence_reduction.weight"]
                context = conv(normed, kernel, weights[f"{reduce}sequence_reduction.bias"], kernel.shape[-1], 0)
                context = by_hand.norm(context, weights, f"{reduce}layer_norm")
            q, k, v = (
                by_hand.linear(y.reshape(-1, width), weights, f"{own}attention.{n}_proj")
                for y, n in ((normed, "q"), (context, "k"), (context, "v"))
            )
            attended = by_hand.linear(by_hand.attention(q, k, v, heads), weights, f"{own}attention.o_proj")
            x = x + attended.reshape(x.shape)
            hidden = by_hand.linear(by_hand.norm(x, weights, f"{own}layernorm_after", 1e-6), weights, f"{own}mlp.fc1")
            kernel, bias = (weights[f"{own}mlp.dwconv.dwconv.{leaf}"] for leaf in ("weight", "bias"))
            hidden = by_hand.gelu(conv(hidden, kernel, bias, 1, 1, hidden.shape[-1]))
            x = x + by_hand.linear(hidden, weights, f"{own}mlp.fc2")
        maps.append(x := by_hand.norm(x, weights, f"{at}layer_norm", 1e-6))
    size = maps[0].shape[:2]
    equal = [
        by_hand.resized(by_hand.linear(y, weights, f"decode_head.linear_projections.{i}.proj"), size)
        for i, y in enumerate(maps)
    ]
    fused = np.concatenate(equal[::-1], -1) @ weights["decode_head.linear_fuse.weight"][:, :, 0, 0].T
    mean, variance, scale, bias = (
        weights[f"decode_head.batch_norm.{n}"] for n in ("running_mean", "running_var", "weight", "bias")
    )
    hidden = np.maximum((fused - mean) / np.sqrt(variance + 1e-5) * scale + bias, 0)
    return hidden @ weights["decode_head.classifier.weight"][:, :, 0, 0].T + weights["decode_head.classifier.bias"]


def small(seed=0, dtype="float64", **fields):
    shape = {
        "image_size": 12, "widths": (4, 6), "depths": (1, 2), "heads": (2, 3), "reductions": (2, 1), "ratios": (2, 1),
        "windows": (7, 3), "strides": (4, 2), "num_classes": 0,
    }  # fmt: skip
    return SegFormer(SegFormerConfig(3, 5, 0.0), MiT(MiTConfig(**{**shape, **fields}), seed, dtype), seed, dtype)


OTHERS = {
    "two stages, odd images": ((13, 18), {}),
    "three stages, other kernels": (
        (12, 11),
        {"widths": (4, 6, 4), "depths": (1, 1, 1), "heads": (1, 2, 4), "reductions": (3, 2, 1), "ratios": (1, 2, 3),
         "windows": (3, 5, 3), "strides": (2, 1, 2)},
    ),
    "one channel": ((8, 9), {"channels": 1, "depths": (2, 1), "strides": (2, 2)}),
}  # fmt: skip


def drawn(objective, rng):
    """Weights by the names of transformers 5."""
    state = {name: tensor.data for name, tensor in objective.named_tensors()}
    weights = {}
    for name, x in recorded.views(objective, state, recorded.theirs).items():
        gain = name.endswith("weight") and x.ndim == 1
        matrix = name in ("decode_head.linear_fuse.weight", "decode_head.classifier.weight")
        weights[name] = rng.normal(1 if gain else 0, 0.4, x.shape + (1, 1) * matrix)
        if name.endswith("running_var"):
            weights[name] = 0.5 + rng.random(x.shape)
    return weights


@pytest.mark.parametrize(("size", "fields"), OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, size, fields):
    objective, rng = small(**fields), np.random.default_rng(1)
    shape, weights = objective.encoder.config, drawn(objective, rng)
    images, labels = rng.normal(size=(2, *size, shape.channels)), rng.integers(0, 3, (2, *size))
    labels[rng.random(labels.shape) < 0.3] = 255
    config = {
        "num_attention_heads": shape.heads, "strides": shape.strides, "image_size": 24,
        "num_encoder_blocks": len(shape.widths),
    }  # fmt: skip
    fixed = {name: x for name, x in weights.items() if "running" in name}

    def loss(learned):
        logits = [by_hand.resized(slow({**learned, **fixed}, image, config), size) for image in images]
        return by_hand.pixel_loss(np.stack(logits), labels)

    learned = {name: x for name, x in weights.items() if name not in fixed}
    along, slope = by_hand.slope(loss, learned, rng)
    logits = np.stack([slow(weights, image, config) for image in images])
    found = {"image": np.moveaxis(images, -1, 1), "labels": labels, "logits": np.moveaxis(logits, -1, 1)}
    case = write_case(tmp_path, "segformer", config, weights, found | {"loss": np.asarray(loss(learned))})
    assert wrong_arrays(case) == []
    computed = recorded.recompute(case)
    assert sum((computed[f"grad/{name}"] * x).sum() for name, x in along.items()) == pytest.approx(slope, rel=1e-6)


def in_official_names(weights):
    """As in the .pth files of NVlabs: stages counted from 1, keys and values in one matrix, keys first."""
    found = {"decode_head.conv_seg.bias": np.zeros(3), "decode_head.linear_fuse.bn.num_batches_tracked": np.array(5)}
    for name, x in weights.items():
        if ".v_proj." in name:
            continue
        if ".k_proj." in name:
            x = np.concatenate([x, weights[name.replace(".k_proj.", ".v_proj.")]])
        m = re.match(r"segformer\.stages\.(\d)\.(.*)", name)
        if m:
            kinds = {"patch_embeddings": "patch_embed", "blocks": "block", "layer_norm": "norm"}
            kind, _, rest = m[2].partition(".")
            rest = rest.replace("layer_norm", "norm") if kind == "patch_embeddings" else rest
            for ours, theirs in (
                ("layernorm_before", "norm1"), ("layernorm_after", "norm2"), ("attention.k_proj", "attn.kv"),
                ("attention.q_proj", "attn.q"), ("attention.o_proj", "attn.proj"),
                ("attention.sequence_reduction.sequence_reduction", "attn.sr"),
                ("attention.sequence_reduction.layer_norm", "attn.norm"),
            ):  # fmt: skip
                rest = rest.replace(ours, theirs)
            name = f"backbone.{kinds[kind]}{int(m[1]) + 1}.{rest}"
        name = re.sub(r"linear_projections\.(\d)", lambda m: f"linear_c{int(m[1]) + 1}", name)
        name = name.replace("linear_fuse.weight", "linear_fuse.conv.weight").replace("batch_norm", "linear_fuse.bn")
        found[name.replace("classifier", "linear_pred")] = x
    return found


def in_hub_names(weights):
    """As in the files on Hugging Face, written by transformers 4."""
    found = {}
    for name, x in weights.items():
        name = re.sub(r"^segformer\.stages\.(\d)\.patch_embeddings", r"segformer.encoder.patch_embeddings.\1", name)
        name = re.sub(r"^segformer\.stages\.(\d)\.blocks\.", r"segformer.encoder.block.\1.", name)
        name = re.sub(r"^segformer\.stages\.(\d)\.layer_norm", r"segformer.encoder.layer_norm.\1", name)
        for ours, theirs in (
            ("layernorm_before", "layer_norm_1"), ("layernorm_after", "layer_norm_2"),
            ("attention.q_proj", "attention.self.query"), ("attention.k_proj", "attention.self.key"),
            ("attention.v_proj", "attention.self.value"), ("attention.o_proj", "attention.output.dense"),
            ("attention.sequence_reduction.sequence_reduction", "attention.self.sr"),
            ("attention.sequence_reduction.layer_norm", "attention.self.layer_norm"),
            ("mlp.fc", "mlp.dense"), ("linear_projections", "linear_c"),
        ):  # fmt: skip
            name = name.replace(ours, theirs)
        found[name] = x
    return found


@pytest.mark.parametrize("layout", [dict, in_official_names, in_hub_names])
def test_published_layouts_load(tmp_path, layout):
    shape = {"widths": (4, 6, 4, 8), "depths": (1, 2, 1, 1), "heads": (1, 2, 2, 4), "reductions": (2, 2, 1, 1)}
    rest = {"image_size": 64, "ratios": (2, 2, 1, 2), "windows": (7, 3, 3, 3), "strides": (4, 2, 2, 2)}
    weights = drawn(small(**shape, **rest), np.random.default_rng(0))
    path, heads = tmp_path / "model.safetensors", {"num_attention_heads": [1, 2, 2, 4]}
    write_safetensors(path, layout(weights), {})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "segformer", **heads}), encoding="utf-8")
    objective = recorded.open_pretrained(path, "float64", norm_eps=1e-5)
    state = {name: tensor.data for name, tensor in objective.named_tensors()}
    for name, x in recorded.views(objective, state, recorded.theirs).items():
        assert np.array_equal(x, weights[name].reshape(x.shape)), name
    assert objective.encoder.config.norm_eps == 1e-5
    missing = {name: x for name, x in layout(weights).items() if not name.endswith("mlp.fc1.bias")}
    write_safetensors(path, {**missing, "more": np.zeros(2)}, {})
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        recorded.open_pretrained(path)


def test_running_statistics_follow_the_whole_batch():
    """However it is cut, and as in PyTorch: momentum 0.1, an unbiased variance."""
    rng, found = np.random.default_rng(0), []
    batch = {"images": rng.normal(size=(6, 12, 12, 3)), "mask": rng.integers(0, 3, (6, 12, 12))}
    for pieces in (1, 3):
        objective = small().train()
        batch |= objective.draw(batch, 0, rng)
        fused = objective(batch)[0].data.reshape(-1, 5)
        norm = objective.decoder.norm
        step(objective, AdamW(objective.named_parameters(), lambda t: 1e-3), batch, accumulate=pieces, seed=(0, 0))
        assert np.allclose(norm.running_mean.data, 0.1 * fused.mean(axis=0), rtol=0, atol=1e-12)
        assert np.allclose(norm.running_variance.data, 0.9 + 0.1 * fused.var(axis=0, ddof=1), rtol=0, atol=1e-12)
        found.append(objective.state_dict())
    assert all(np.allclose(x, found[1][name], rtol=0, atol=1e-9) for name, x in found[0].items())


def test_dropout_hides_whole_channels_of_an_image_in_training_only():
    objective, rng = small(), np.random.default_rng(0)
    objective.config = SegFormerConfig(classes=3, width=5, dropout=0.4)
    batch = {"images": rng.normal(size=(6, 12, 12, 3)), "mask": rng.integers(0, 3, (6, 12, 12))}
    assert len(objective.eval()(batch, rng)) == 1
    fused, keep = objective.train()(batch, rng)
    assert keep.shape == (6, 1, 1, 5)
    assert {*np.unique(keep.data)} == {0, 1 / 0.6}
    hidden = F.relu(objective.decoder.norm(fused)) * keep.data
    assert np.allclose(objective.decoder(fused, keep).data, objective.decoder.classifier(hidden).data, atol=1e-12)


def test_without_depthwise_convolutions_a_stage_does_not_know_places():
    """Turned round before and after, the blocks of a stage whose keys are not shrunk give the same."""
    x = np.random.default_rng(0).normal(size=(1, 4, 6, 6))
    for depthwise in (False, True):
        block = small(depthwise=depthwise).encoder.stages[1].blocks[0]
        wanted, turned = (block(block.norm1.bias + 0 + y).data for y in (x, x[:, ::-1, ::-1].copy()))
        assert np.allclose(turned[:, ::-1, ::-1], wanted, atol=1e-12) is not depthwise


def test_as_a_classifier_it_takes_the_mean_of_the_last_map():
    model = MiT(MiTConfig(**{**VARIANTS["mit-mini"], "image_size": 32, "num_classes": 4}), 0)
    tap, images = {}, np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    assert model(images, tap).shape == (2, 4)
    assert [tap[f"stage{i}"].shape[1:] for i in range(4)] == [(8, 8, 32), (4, 4, 48), (2, 2, 64), (1, 1, 96)]
    assert [model.config.map_size(i) for i in range(4)] == [(8, 8), (4, 4), (2, 2), (1, 1)]
    assert np.array_equal(tap["features"].data, tap["stage3"].data.mean(axis=(1, 2)))


def test_kernels_begin_as_published():
    model = MiT(MiTConfig(**VARIANTS["mit-b0"]), 0)
    block = model.stages[3].blocks[0]
    assert block.mlp.fc1.weight.data.std() == pytest.approx(0.02, rel=0.05)
    assert block.mlp.depthwise.weight.data.std() == pytest.approx((2 / 9) ** 0.5, rel=0.05)
    assert model.stages[3].embed.conv.weight.data.std() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MiTConfig(heads=(1, 2, 5)), "heads is .*, expected 4 numbers of at least 1"),
        (lambda: MiTConfig(heads=(3, 2, 5, 8)), "3 heads do not divide width 32"),
        (lambda: MiTConfig(image_size=16), r"map \(4, 4\) shrinks by 8"),
        (lambda: MiTConfig(drop_path=1.0), "drop_path is 1.0, expected 0 <= rate < 1"),
        (lambda: SegFormerConfig(classes=256), "classes is 256, expected 2 to 255"),
        (lambda: SegFormerConfig(dropout=1.0), "dropout is 1.0, expected"),
        (lambda: SegFormer(SegFormerConfig(), ViT(ViTConfig(), None), None), "needs a MiT, such as --model mit-mini"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_dropout_takes_whole_channels():
    config = segformer.SegFormerConfig(3, 5, 0.5)
    objective = SegFormer(config, small().encoder, 0, "float64").train()
    batch = {"images": np.random.default_rng(0).normal(size=(4, 12, 12, 3))}
    fused, keep = objective(batch, np.random.default_rng(0))
    assert keep.shape == (4, 1, 1, 5)
    assert set(np.unique(keep.data)) == {0.0, 2.0}
    assert len(objective.eval()(batch)) == 1
    assert fused.shape == (4, 3, 3, 5)
