"""Segmenter: held to recorded outputs of published code, and to a slow second implementation."""

from pathlib import Path

import dense_by_hand as by_hand
import numpy as np
import pytest
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.backend.workers import Workers
from minivit.data import Augment
from minivit.data.scenes import load_scenes
from minivit.errors import CheckpointError, ConfigError, DataError
from minivit.lineage import segmenter, verify
from minivit.lineage.dense import DenseObjective
from minivit.lineage.recorded import segmenter as recorded
from minivit.lineage.segmenter import MaskDecoder, Segmenter, SegmenterConfig
from minivit.models import ResNet, ResNetConfig, ViT, ViTConfig
from minivit.models.archive import write_safetensors
from minivit.optim import AdamW
from minivit.runs.evaluation import evaluate
from minivit.runs.recipes import Recipe
from minivit.tensor import Tensor
from minivit.update.step import step

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "segmenter"
OTHERS = {
    "mask, odd images": ((14, 9), {"decoder": "mask", "depth": 1}),
    "mask, deeper, as large as the table": ((8, 12), {"decoder": "mask", "depth": 2, "heads": 4}),
    "linear": ((8, 12), {"decoder": "linear"}),
    "linear, odd images, two tokens": ((11, 17), {"decoder": "linear", "distilled": True}),
}


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 15


real_resize, real_padded = F.resize, segmenter.padded


def with_corners(x, size, method="bilinear", scale=None):
    return real_resize(x, size, "align_corners")


def cubic(self, grid):
    real, segmenter.F.resize = segmenter.F.resize, lambda x, size, method, scale: real_resize(x, size, "bicubic")
    try:
        return real_positions(self, grid)
    finally:
        segmenter.F.resize = real


real_positions = Segmenter.positions


def classes_first(self, patches, classes):
    return F.concat(classes, patches, axis=1)


def padded_at_the_top(images, size):
    down, right = size[0] - images.shape[1], size[1] - images.shape[2]
    return F.pad(images, ((0, 0), (down, 0), (right, 0), (0, 0)))


def with_ignored(self, batch, step, rng):
    return {"weight": np.ones(len(batch["mask"]))}


WRONG = [
    (F, "resize", with_corners, "odd/logits"),
    (Segmenter, "positions", cubic, "odd/encoded"),
    (MaskDecoder, "joined", classes_first, "odd/grid_logits"),
    (segmenter, "padded", padded_at_the_top, "odd/encoded"),
    (segmenter, "unit", lambda x: x, "odd/grid_logits"),
    (segmenter, "EPS", 1e-6, "odd/grid_logits"),
    (recorded, "EPS", 1e-6, "odd/encoded"),
    (DenseObjective, "draw", with_ignored, "odd/loss"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


def block(x, weights, name, heads):
    q, k, v = np.split(by_hand.linear(by_hand.norm(x, weights, f"{name}.norm1"), weights, f"{name}.attn.qkv"), 3, -1)
    x = x + by_hand.linear(by_hand.attention(q, k, v, heads), weights, f"{name}.attn.proj")
    hidden = by_hand.gelu(by_hand.linear(by_hand.norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1"))
    return x + by_hand.linear(hidden, weights, f"{name}.mlp.fc2")


def slow(weights, image, heads, own_heads):
    """(height, width, 3) -> logits (height, width, K): for patches 4 x 4 and a table of 2 x 3 of them."""
    height, width, _ = image.shape
    rows, columns = -(-height // 4), -(-width // 4)
    whole = np.zeros((4 * rows, 4 * columns, 3))
    whole[:height, :width] = image
    kernel = weights["encoder.patch_embed.proj.weight"]
    patches = [
        np.einsum("yxc,dcyx->d", whole[4 * i : 4 * i + 4, 4 * j : 4 * j + 4], kernel)
        for i in range(rows)
        for j in range(columns)
    ] + weights["encoder.patch_embed.proj.bias"]
    tokens = [weights[f"encoder.{n}"][0, 0] for n in ("cls_token", "dist_token") if f"encoder.{n}" in weights]
    table, before = weights["encoder.pos_embed"][0], len(tokens)
    places = by_hand.resized(table[before:].reshape(2, 3, -1), (rows, columns)).reshape(rows * columns, -1)
    x = np.concatenate([np.array(tokens) + table[:before], patches + places])
    for i in range(2):
        x = block(x, weights, f"encoder.blocks.{i}", heads)
    x = by_hand.norm(x, weights, "encoder.norm")[before:]
    if "decoder.head.weight" in weights:
        z = by_hand.linear(x, weights, "decoder.head")
    else:
        x = np.concatenate([by_hand.linear(x, weights, "decoder.proj_dec"), weights["decoder.cls_emb"][0]])
        for i in range(sum(name.endswith("norm1.bias") and name.startswith("decoder") for name in weights)):
            x = block(x, weights, f"decoder.blocks.{i}", own_heads)
        x = by_hand.norm(x, weights, "decoder.decoder_norm")
        p = x[: rows * columns] @ weights["decoder.proj_patch"]
        c = x[rows * columns :] @ weights["decoder.proj_classes"]
        z = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in c] for a in p])
        z = by_hand.norm(z, weights, "decoder.mask_norm")
    return by_hand.resized(z.reshape(rows, columns, -1), (4 * rows, 4 * columns))[:height, :width]


def small(decoder="mask", distilled=False, dtype="float64", **own):
    shape = ViTConfig(
        image_size=(8, 12), patch_size=4, width=8, depth=2, heads=2, mlp_width=12, num_classes=0, gelu="erf",
        norm_eps=1e-5, distillation_token=distilled,
    )  # fmt: skip
    config = SegmenterConfig(**{"classes": 3, "decoder": decoder, "width": 4, "heads": 2, "mlp_width": 6, **own})
    return Segmenter(config, ViT(shape, 0, dtype), 0, dtype)


@pytest.mark.parametrize(("size", "own"), OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, size, own):
    objective, rng = small(**own), np.random.default_rng(1)
    state = {name: tensor.data for name, tensor in objective.named_tensors()}
    weights = {
        name: rng.normal(1 if name.endswith("weight") and x.ndim == 1 else 0, 0.4, x.shape)
        for name, x in recorded.views(state, objective.encoder.config).items()
    }
    images, labels = rng.normal(size=(2, *size, 3)), rng.integers(0, 3, (2, *size))
    labels[rng.random(labels.shape) < 0.3] = 255
    heads = {"encoder": 2, "decoder": own.get("heads", 2)}

    def answer(weights):
        return np.stack([slow(weights, image, heads["encoder"], heads["decoder"]) for image in images])

    along, slope = by_hand.slope(lambda weights: by_hand.pixel_loss(answer(weights), labels), weights, rng)
    logits = answer(weights)
    found = {"image": np.moveaxis(images, -1, 1), "labels": labels, "logits": np.moveaxis(logits, -1, 1)}
    found |= {"loss": np.asarray(by_hand.pixel_loss(logits, labels))}
    config = {"encoder": {"image_size": [8, 12], "n_heads": 2}, "decoder": {"n_heads": heads["decoder"]}}
    unused = {"encoder.head.weight": np.ones((3, 8)), "encoder.head.bias": np.ones(3)}
    case = write_case(tmp_path, "segmenter", config, {**weights, **unused}, found)
    assert wrong_arrays(case) == []
    computed = recorded.recompute(case)
    assert sum((computed[f"grad/{name}"] * x).sum() for name, x in along.items()) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("own", [{"decoder": "mask", "depth": 1}, {"decoder": "linear", "distilled": True}], ids=str)
def test_files_with_the_official_names(tmp_path, own):
    objective, rng = small(**own).eval(), np.random.default_rng(0)
    weights = {}
    for name, x in recorded.views(
        {name: tensor.data for name, tensor in objective.named_tensors()}, objective.encoder.config
    ).items():
        weights[name] = x[...] = rng.normal(0, 0.4, x.shape)
    path, unused = tmp_path / "segmenter.safetensors", {"encoder.head.weight": np.ones((3, 8))}
    write_safetensors(path, {name: np.ascontiguousarray(x) for name, x in (weights | unused).items()}, {})
    told = {"image_size": [8, 12], "n_heads": 2, "decoder": {"n_heads": 2, "dropout": 0.1}}
    found = recorded.open_pretrained(path, "float64", **told).eval()
    images = Tensor(rng.normal(size=(2, 7, 9, 3)))
    assert np.allclose(found.segment(images).data, objective.segment(images).data, rtol=0, atol=1e-12)
    assert found.config.dropout == (0.1 if own["decoder"] == "mask" else SegmenterConfig().dropout)
    with pytest.raises(CheckpointError, match=r"segmenter\.safetensors"):
        recorded.open_pretrained(path)  # no square grid


def test_what_a_published_file_does_not_tell_is_the_usual():
    def shapes(width, before=1):
        return {
            "encoder.patch_embed.proj.weight": np.empty((width, 3, 16, 16)),
            "encoder.pos_embed": np.empty((1, 32 * 32 + before, width)),
            "decoder.cls_emb": np.empty((1, 150, width)),
        }

    tiny = recorded.told_by(shapes(192), "T-Mask/16")
    assert tiny == {"encoder": {"image_size": [512, 512], "n_heads": 3}, "decoder": {"n_heads": 3}}
    assert recorded.told_by(shapes(768, 2) | {"encoder.dist_token": np.empty((1, 1, 768))}, "DeiT")["encoder"] == {
        "image_size": [512, 512],
        "n_heads": 12,
    }


@pytest.mark.parametrize("decoder", ["mask", "linear"])
def test_numbers_of_parameters(decoder):
    """B/16 at 512 pixels with 150 classes: the encoder without a head, and the decoder, added up by hand."""
    d, k = 768, 150
    of_block = 12 * d * d + 13 * d
    shape = ViTConfig(image_size=512, patch_size=16, width=d, depth=12, heads=12, mlp_width=4 * d, num_classes=0)
    config = SegmenterConfig(k, decoder, width=d, heads=12, mlp_width=4 * d)
    encoder = 16 * 16 * 3 * d + d + d + (32 * 32 + 1) * d + 12 * of_block + 2 * d
    mask = d * d + d + k * d + 2 * of_block + 2 * d + 2 * d * d + 2 * k
    own = {"mask": mask, "linear": d * k + k}[decoder]
    assert Segmenter(config, ViT(shape, None), None).num_parameters() == encoder + own


def test_the_mean_iou_is_that_of_the_summed_confusion_matrix():
    data = load_scenes("test", 10, size=16)
    objective, _ = segmenter.tiny()
    recipe = Recipe(model=objective.encoder.config, objective={"name": "segmenter"})
    columns = data.columns(range(10), ("images", "mask"))
    batch = objective.prepare(columns, recipe.augment.evaluation(), None)
    answers = objective.predict(batch)
    with Workers(2) as workers:
        found = evaluate(objective, data, recipe, workers, 4)
    assert found.keys() == {"loss", "accuracy", "iou", "images"}
    assert found["iou"] == pytest.approx(by_hand.mean_iou(answers, columns["mask"], 6), rel=1e-12)
    assert found["accuracy"] == pytest.approx((answers == columns["mask"]).mean(), rel=1e-12)
    each = [by_hand.mean_iou(one[None], true[None], 6) for one, true in zip(answers, columns["mask"], strict=True)]
    assert found["iou"] != pytest.approx(np.mean(each), rel=1e-3)


def test_ignored_pixels_count_nowhere():
    objective, rng = small("linear").eval(), np.random.default_rng(0)
    labels = rng.integers(0, 3, (2, 8, 12)).astype(np.uint8)
    labels[0, :, 5:] = labels[1, 2] = 255
    batch = {"images": rng.normal(size=(2, 8, 12, 3)), "mask": labels}
    batch |= objective.draw(batch, 0, rng)
    outputs, answers = objective(batch), objective.predict(batch)
    assert objective.loss(outputs, batch).item() == pytest.approx(by_hand.pixel_loss(outputs[0].data, labels))
    means = {name: float(x) / 2 for name, x in objective.sums(outputs, batch).items()}
    assert objective.concluded(means)["iou"] == pytest.approx(by_hand.mean_iou(answers, labels, 3))
    known = [(a == t)[t != 255].mean() for a, t in zip(answers, labels, strict=True)]
    assert means["accuracy"] == pytest.approx(np.mean(known))
    assert not any(name.startswith("both") for name in objective.train().sums(outputs, batch))
    nothing = {"mask": np.full((2, 8, 12), 255, np.uint8)}
    assert np.isfinite(objective.draw(nothing, 0, rng)["weight"]).all()


def test_references_need_no_network():
    data = load_scenes("test", 8, size=20)
    labels = data.columns(range(8), ("mask",))["mask"]
    coarse = labels.copy()
    for i, y, x in np.ndindex(8, 2, 2):  # 20 pixels hold two cells of 8
        cell = slice(8 * y, 8 * y + 8), slice(8 * x, 8 * x + 8)
        coarse[(i, *cell)] = np.bincount(labels[(i, *cell)].ravel()).argmax()
    expected = by_hand.mean_iou(coarse[:, :16, :16], labels[:, :16, :16], 6)
    objective, _ = segmenter.tiny()
    assert segmenter.HOW["references"](objective, data, None) == [
        f"one class everywhere: iou {by_hand.mean_iou(np.zeros_like(labels), labels, 6):.4f}",
        f"true labels in cells of 8x8: iou {expected:.4f}",
    ]


def test_a_label_that_is_no_class_is_named():
    with pytest.raises(DataError, match="a label is 3, expected 0 to 2, or 255 for none"):
        small().draw({"mask": np.full((1, 2, 2), 3)}, 0, np.random.default_rng(0))


def test_image_and_labels_are_mirrored_together():
    objective = small()
    images = np.arange(12 * 4 * 6, dtype=np.uint8).reshape(12, 4, 6, 1).repeat(3, axis=3)
    augment = Augment((4, 6), flip=True)
    batch = objective.prepare({"images": images, "mask": images[..., 0]}, augment, np.random.default_rng(0))
    plain = augment.evaluation()(images, None)
    mirrored = (batch["images"] != plain).any(axis=(1, 2, 3))
    assert 0 < mirrored.sum() < 12
    for i, turned in enumerate(mirrored):
        wanted = slice(None, None, -1 if turned else 1)
        assert np.array_equal(batch["images"][i], plain[i, :, wanted])
        assert np.array_equal(batch["mask"][i], images[i, :, wanted, 0])
    again = objective.prepare({"images": images, "mask": images[..., 0]}, augment, None)
    assert np.array_equal(again["images"], plain)


def test_windows_that_overlap_are_averaged():
    rng = np.random.default_rng(0)
    image, seen = rng.normal(size=(7, 5, 2)), []

    def logits(windows):
        seen.append(windows)
        return np.arange(len(windows))[:, None, None, None] + windows

    found = segmenter.slide(logits, image, 4, 2)
    number, times = np.zeros((7, 5, 1)), np.zeros((7, 5, 1))
    for n, (y, x) in enumerate([(0, 0), (0, 1), (2, 0), (2, 1), (3, 0), (3, 1)]):
        assert np.array_equal(seen[0][n], image[y : y + 4, x : x + 4])
        number[y : y + 4, x : x + 4] += n
        times[y : y + 4, x : x + 4] += 1
    assert np.allclose(found, image + number / times, rtol=0, atol=1e-14)
    assert segmenter.slide(logits, image[:4, :4], 4, 2).shape == (4, 4, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decoder": "masks"}, 'decoder is "masks", expected one of mask, linear'),
        ({"classes": 1}, "classes is 1, expected 2 to 255"),
        ({"classes": 256}, "classes is 256, expected 2 to 255"),
        ({"width": 10, "heads": 3}, "3 heads do not divide width 10"),
        ({"dropout": 1.0}, "dropout is 1.0, expected 0 <= rate < 1"),
        ({"depth": 0}, "depth is 0, expected at least 1"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        SegmenterConfig(**fields)


def test_other_encoders_are_refused():
    sizes = {"image_size": 8, "patch_size": 4, "width": 8, "depth": 1, "heads": 2, "mlp_width": 8, "num_classes": 0}
    for fields in ({"position": "none"}, {"no_embed_class": True}, {"fc_norm": True, "classifier": "gap"}):
        with pytest.raises(ConfigError, match="needs a ViT without a stem, with one learned position table"):
            Segmenter(SegmenterConfig(), ViT(ViTConfig(**sizes, **fields), None), None)
    with pytest.raises(ConfigError, match="needs a ViT, but the model is a ResNet"):
        Segmenter(SegmenterConfig(), ResNet(ResNetConfig(units=(1,), width=32, root="3x3", image_size=8), None))


def test_it_learns():
    """The brightness of every patch, from eight images."""
    objective, rng = small("mask", width=8, dtype="float32").train(), np.random.default_rng(0)
    images = np.zeros((8, 8, 12, 3), np.float32)
    labels = rng.integers(0, 3, (8, 2, 3)).repeat(4, axis=1).repeat(4, axis=2)
    images += labels[..., None] - 1
    batch = {"images": images, "mask": labels}
    batch |= objective.draw(batch, 0, rng)
    optimizer = AdamW(objective.named_parameters(), lambda t: 2e-2, weight_decay=0.0)
    losses = [step(objective, optimizer, batch, seed=(0, i)).loss for i in range(25)]
    assert losses[-1] < 0.5 * losses[0]
