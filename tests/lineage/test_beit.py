"""BEiT's masked image modelling: held to recorded outputs of published code, and to a slow second implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
from masked_by_hand import SIZES, arrays, check_gradients, encoded, hidden_behind, in_hub_names, surprise
from recordings import write_case, wrong_arrays

from minivit.data import ArrayDataset
from minivit.errors import CheckpointError, ConfigError, DataError
from minivit.lineage import Given, masked_tokens, verify
from minivit.lineage.beit import BEiT, BEiTConfig
from minivit.lineage.recorded import beit as recorded
from minivit.lineage.recorded import modern as recorded_modern
from minivit.models import ResNet, ResNetConfig, ViT, ViTConfig, families, relative
from minivit.models.archive import write_safetensors
from minivit.optim import AdamW
from minivit.tensor import grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "beit_mim"
WORDS = {"width": "hidden_size", "heads": "num_attention_heads", "image": "image_size", "norm_eps": "layer_norm_eps"}
OTHERS = {
    "absolute positions": {},
    "both tables, one channel": {"relative": True, "scaled": True, "channels": 1, "patch": [2, 4]},
    "relative, wide": {"relative": True, "absolute": False, "scaled": True, "image": [4, 16], "heads": 4, "depth": 1},
    "another epsilon": {"relative": True, "absolute": False, "norm_eps": 1e-3, "scaled": True},
}


def vit(seed=0, **fields):
    small = {"image_size": 8, "patch_size": 2, "width": 8, "depth": 1, "heads": 2, "mlp_width": 16, "channels": 1}
    return ViT(ViTConfig(**{**small, "num_classes": 0, **fields}), seed, "float64")


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 16


def every_patch(mask, counted=0.0):
    return np.full(mask.shape, 1 / mask.shape[1])


def each_image_alike(mask, counted=0.0):
    return mask / mask.sum(axis=1, keepdims=True)


def one_for_all(self, x, mask):
    return real_masked(self, x, mask[:1] | (mask & False))


def other_sign(grid, class_token=False):
    return real_index(grid, class_token).T


real_masked, real_index = masked_tokens.MaskedTokens.masked, relative.relative_index
WRONG = [
    (recorded, "weights", every_patch, "loss"),
    (recorded, "weights", each_image_alike, "loss"),
    (masked_tokens.MaskedTokens, "masked", one_for_all, "tap/embeddings"),
    (relative, "relative_index", other_sign, "logits"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(relative, "kept", lambda make, *given, like: make(*given))
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("names", ["official", "hub"])
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes, names):
    size, rng = {**SIZES, **changes}, np.random.default_rng(1)
    weights = arrays(size, rng)
    weights |= {"lm_head.weight": rng.normal(size=(7, size["width"])), "lm_head.bias": rng.normal(size=7)}
    patches = np.prod(size["image"]) // np.prod(size["patch"])
    mask, tokens = rng.integers(0, 2, (3, patches)), rng.integers(0, 7, (3, patches))
    image = rng.normal(size=(3, size["channels"], *size["image"]))

    def logits(w, image):
        rows = [encoded(size, w, x, hidden_behind(w, m)) for x, m in zip(image, mask, strict=True)]
        return np.stack(rows) @ w["lm_head.weight"].T + w["lm_head.bias"]

    def loss(w, image):
        found = logits(w, image)
        return np.mean([surprise(found[b, n], tokens[b, n]) for b, n in zip(*np.nonzero(mask), strict=True)])

    renamed = in_hub_names if names == "hub" else dict
    config = {theirs: size[ours] for ours, theirs in WORDS.items()}
    found = {"image": image, "mask": mask, "tokens": tokens, "logits": logits(weights, image)}
    case = write_case(tmp_path, "beit_mim", config, renamed(weights), found | {"loss": np.array(loss(weights, image))})
    assert wrong_arrays(case) == []
    check_gradients(case, recorded.recompute, loss, weights, image, renamed)


@pytest.mark.parametrize(("size", "count"), [("base", 91_965_776), ("large", 311_534_016)])
def test_published_sizes(size, count):
    fields = families.named_fields(f"beit_{size}_patch16_224") | {"num_classes": 0, "relative": "shared"}
    objective = BEiT(BEiTConfig(), families.build(families.config_of(fields, "test"), None), None)
    assert sum(tensor.data.size for _, tensor in objective.named_parameters()) == count


@pytest.mark.parametrize("names", ["official", "hub"])
def test_published_files_are_read(tmp_path, names):
    size, rng = (
        {**SIZES, "image": [12, 12], "relative": True, "absolute": False, "scaled": True},
        np.random.default_rng(0),
    )
    weights = arrays(size, rng) | {"lm_head.weight": rng.normal(size=(5, 8)), "lm_head.bias": rng.normal(size=5)}
    path = tmp_path / "model.safetensors"
    write_safetensors(path, in_hub_names(weights) if names == "hub" else weights, {})
    stated = {"model_type": "beit", "num_attention_heads": 2, "image_size": 12, "layer_norm_eps": 1e-6}
    (tmp_path / "config.json").write_text(json.dumps(stated), encoding="utf-8")
    objective = recorded.open_pretrained(path, "float64")
    image = rng.normal(size=(1, 12, 12, 3))
    mask = np.arange(9)[None] % 2 == 0
    (logits,) = objective.eval()({"images": image, "mask": mask})
    slow = encoded(size, weights, np.moveaxis(image[0], -1, 0), hidden_behind(weights, mask[0]))
    assert np.allclose(logits.data[0], slow @ weights["lm_head.weight"].T + weights["lm_head.bias"], rtol=0, atol=1e-12)
    encoder = recorded_modern.open_pretrained(path, "float64")  # the same file for fine-tuning
    assert np.array_equal(encoder.state_dict()["relative.table"], objective.encoder.state_dict()["relative.table"])
    write_safetensors(path, {name: x for name, x in weights.items() if "lm_head" not in name}, {})
    with pytest.raises(CheckpointError, match="expected mask_token and lm_head"):
        recorded.open_pretrained(path)


def test_masks_are_blocks_of_the_published_sizes():
    rng = np.random.default_rng(0)
    masks = np.stack([masked_tokens.blocks((14, 14), 75, 16, 0.3, rng) for _ in range(200)])
    counts = masks.sum(axis=(1, 2))
    assert counts.max() == 75
    assert counts.min() < 75  # ten tries may fail
    assert counts.mean() > 73
    together = (masks[:, 1:] & masks[:, :-1]).sum() / masks[:, 1:].sum()
    assert together > 0.7  # a masked patch has a masked one above it; by chance 0.38
    assert masks.any(axis=0).all()


def test_blocks_may_all_be_squares():
    mask = BEiT(BEiTConfig(5, block=4, aspect=1.0), vit(), 0).draw(
        {"images": np.zeros((9, 1))}, 0, np.random.default_rng(0)
    )["mask"]
    assert (mask.sum(axis=1) >= 4).all()
    assert (mask.reshape(9, 4, 4)[:, :-1] & mask.reshape(9, 4, 4)[:, 1:]).any(axis=(1, 2)).all()


def test_every_image_has_its_own_mask_and_the_weights_have_mean_one():
    objective = BEiT(BEiTConfig(5, block=2), vit(), 0, "float64")
    found = objective.draw({"images": np.zeros((50, 1))}, 0, np.random.default_rng(0))
    assert len(np.unique(found["mask"], axis=0)) > 25
    assert found["weight"].sum() / 50 == pytest.approx(1)
    assert (found["weight"] > 0).tolist() == found["mask"].tolist()


def test_k_means_finds_what_patches_are_made_of():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 256, (4, 2, 2, 1))
    which = rng.integers(0, 4, (64, 4, 4))
    images = kinds[which].transpose(0, 1, 3, 2, 4, 5).reshape(64, 8, 8, 1).astype(np.uint8)
    objective = BEiT(BEiTConfig(4, block=2), vit(), 0, "float64")
    data = ArrayDataset(images, [0] * 64, ["any"], "tiles")
    objective.begin(data, lambda images, rng: images / 255.0, 0)
    tokens = objective.tokens_of({"images": images / 255.0}).reshape(-1)
    assert len(set(zip(tokens.tolist(), which.reshape(-1).tolist(), strict=True))) == 4  # one name for each kind
    with pytest.raises(DataError, match="4 different patches for a vocabulary of 5"):
        BEiT(BEiTConfig(5, block=2), vit(), 0).begin(data, lambda images, rng: images / 255.0, 0)


def test_it_learns_what_stands_behind_a_mask():
    """The patches of an image are all alike."""
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (3, 2, 2, 1))
    images = np.tile(tiles[rng.integers(0, 3, 32)], (1, 4, 4, 1)) / 255.0
    objective = BEiT(BEiTConfig(3, block=2), vit(), 0, "float64")
    objective.centres.data[...] = tiles.reshape(3, 4) / 255.0
    optimizer, losses = AdamW(objective.named_parameters(), lr=2e-2), []
    for i in range(40):
        batch = {"images": images} | objective.draw({"images": images}, i, np.random.default_rng(i))
        outputs = objective(batch, np.random.default_rng(i))
        loss = objective.loss(outputs, batch)
        optimizer.step(grad(loss, optimizer.parameters))
        losses.append(loss.item())
    assert losses[0] > 0.8
    assert np.mean(losses[-5:]) < 0.1
    assert objective.sums(outputs, batch)["token_accuracy"] / 32 > 0.99


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"masked": 0.0}, "masked"),
        ({"masked": 1.0}, "masked"),
        ({"aspect": 0.0}, "aspect"),
        ({"vocabulary": 0}, "vocabulary"),
        ({"block": 8}, "block is 8, expected at most 6"),
        ({"masked": 0.01, "block": 1}, "no blocks hide 0 of 4x4 patches"),
        ({"image_size": (2, 8), "block": 1}, "no blocks hide 2 of 1x4 patches"),
    ],
)
def test_wrong_fields_are_refused(config, message):
    config = dict(config)
    shape = vit(image_size=config.pop("image_size", 8)).config
    with pytest.raises(ConfigError, match=message):
        BEiT.build(BEiTConfig(**{"vocabulary": 5, "block": 2, **config}), Given(shape, [], 10))


def test_another_network_is_refused():
    with pytest.raises(ConfigError, match="BEiT needs a ViT or a modern one, such as beit_nano_patch4, not a ResNet"):
        BEiT(BEiTConfig(), ResNet(ResNetConfig(image_size=8, units=(1,), channels=1, num_classes=0), None), None)
