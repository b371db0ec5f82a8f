"""Masked autoencoders: held to recorded outputs of published code, and to a slow second implementation."""

from pathlib import Path

import numpy as np
import pytest
from mae_by_hand import SIZES, ByHand, arrays, in_hub_names, table
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.data import ArrayDataset
from minivit.errors import ConfigError
from minivit.lineage import mae, pictures, verify
from minivit.lineage.mae import MAE, MAEConfig
from minivit.lineage.pictures import unpatchify
from minivit.lineage.recorded import mae as recorded
from minivit.models import ResNet, ResNetConfig, ViT, ViTConfig
from minivit.optim import AdamW
from minivit.runs.recipes import Recipe
from minivit.tensor import grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "mae"
OTHERS = {
    "raw pixels, one channel, half": {
        "image_size": [8, 8], "patch_size": [2, 2], "num_channels": 1, "mask_ratio": 0.5, "norm_pix_loss": False
    },
    "not square": {"image_size": [12, 6], "patch_size": [3, 2], "num_channels": 2, "num_attention_heads": 4},
    "deeper decoder": {"num_hidden_layers": 1, "decoder_num_hidden_layers": 3, "decoder_num_attention_heads": 1},
    "no biases, another epsilon": {"qkv_bias": False, "layer_norm_eps": 1e-3, "mask_ratio": 0.4},
}  # fmt: skip


def shape(**fields):
    small = {"image_size": 8, "patch_size": 2, "width": 8, "depth": 2, "heads": 2, "mlp_width": 16, "channels": 1}
    return ViTConfig(**{**small, "num_classes": 0, **fields})


def small(masked=0.75, normalise=True, seed=0, dtype="float64", **fields):
    own = MAEConfig(masked, width=8, depth=1, heads=2, mlp_width=16, normalise=normalise)
    return MAE(own, ViT(shape(**fields), seed, dtype), seed, dtype)


def drawn(objective, images, seed=0):
    batch = {"images": images}
    return batch | objective.draw(batch, 0, np.random.default_rng(seed))


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 24


def test_the_tables_are_those_of_the_published_code():
    case = verify.open_case(CASE)
    for name, width in (("pos_embed", 16), ("decoder_pos_embed", 8)):
        assert np.allclose(mae.positions((3, 3), width), case.weights[name], rtol=0, atol=1e-15)
    assert np.allclose(mae.positions((2, 5), 12), table(2, 5, 12), rtol=0, atol=1e-15)


def positions_after_masking(self, batch):
    network = self.network
    x = network.patch_embed(self.tensor(batch["images"]))
    x = F.select(x, batch["order"][:, : self.visible])
    first = F.broadcast_to(network.class_token, (len(x.data), 1, x.shape[-1]))
    return F.concat(first, x, axis=1) + network.position_embedding[:, : self.visible + 1]


def over_all_patches(self, outputs, batch):
    error = outputs[0] - self.targets(batch["images"])
    return (error * error).mean()


def over_visible_patches(self, outputs, batch):
    error = F.select(outputs[0] - self.targets(batch["images"]), batch["order"][:, : self.visible])
    return (error * error).mean()


def biased(pixels):
    return pixels.mean(axis=-1, keepdims=True), F.sqrt(F.var(pixels, axis=-1, keepdims=True) + 1e-6)


def of_the_image(pixels):
    variance = F.var(pixels, axis=(1, 2), keepdims=True, ddof=1)
    return pixels.mean(axis=(1, 2), keepdims=True), F.sqrt(variance + 1e-6)


def epsilon_outside(pixels):
    deviation = F.sqrt(F.var(pixels, axis=-1, keepdims=True, ddof=1)) + 1e-6
    return pixels.mean(axis=-1, keepdims=True), deviation


def as_constants(self, images):
    return real_targets(self, images.data)


real_targets, real_in_place = MAE.targets, mae.Decoder.in_place


def without_class_row(self, x, back):
    y = real_in_place(self, x, back)
    return F.concat(x[:, :1] + self.positions[:, 1:2], y[:, 1:], axis=1)


WRONG = [
    (MAE, "embed", positions_after_masking, "tap/embeddings"),
    (MAE, "loss", over_all_patches, "loss"),
    (MAE, "loss", over_visible_patches, "loss"),
    (mae, "statistics", biased, "target_used"),
    (mae, "statistics", of_the_image, "target_used"),
    (mae, "statistics", epsilon_outside, "target_used"),
    (MAE, "targets", as_constants, "grad_input/image"),
    (mae.Decoder, "in_place", without_class_row, "tap/decoder0"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("names", ["official", "hub"])
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes, names):
    config, rng = {**SIZES, **changes}, np.random.default_rng(1)
    weights = arrays(config, rng)
    cells = np.prod(config["image_size"]) // np.prod(config["patch_size"])
    given = {
        "image": rng.normal(size=(2, config["num_channels"], *config["image_size"])),
        "noise": rng.random((2, cells)),
    }
    slow = ByHand(config, weights, **given)
    found = {name: getattr(slow, name) for name in ("logits", "target_used", "loss_per_patch", "mask", "ids_restore")}
    found |= {"loss": np.asarray(slow.loss), "tap/latent": slow.latent}
    written = in_hub_names(weights) if names == "hub" else weights
    case = write_case(tmp_path, "mae", config, written, {**given, **found})
    assert wrong_arrays(case) == []
    check_gradients(config, weights, given, case, written)


def check_gradients(config, weights, given, case, written):
    """Along one direction through all parameters, and one through the image, against differences."""
    learned = [name for name in written if "pos" not in name.rpartition(".")[2] and "decoder_pos" not in name]
    case.arrays |= {f"grad/{name}": np.zeros(0) for name in learned}  # what is asked for
    found, rng, e = recorded.recompute(case), np.random.default_rng(2), 1e-5
    directions = {name: rng.normal(size=weights[name].shape) for name in weights if "pos_embed" not in name}
    named = in_hub_names(directions) if written.keys() != weights.keys() else directions
    moved = [{n: x + s * directions[n] if n in directions else x for n, x in weights.items()} for s in (e, -e)]
    difference = np.subtract(*(ByHand(config, w, **given).loss for w in moved)) / (2 * e)
    along = sum((found[f"grad/{name}"] * named[name]).sum() for name in learned)
    assert along == pytest.approx(difference, rel=1e-6)
    norm = np.sqrt(sum(np.square(found[f"grad/{name}"]).sum() for name in learned))
    assert found["grad_norm"] == pytest.approx(norm, rel=1e-12)
    way = rng.normal(size=given["image"].shape)
    images = [{**given, "image": given["image"] + s * way} for s in (e, -e)]
    difference = np.subtract(*(ByHand(config, weights, **of).loss for of in images)) / (2 * e)
    assert (found["grad_input/image"] * way).sum() == pytest.approx(difference, rel=1e-6)


def test_as_many_patches_stay_as_in_the_published_code():
    sides = [(224, 16, 0.75, 49), (8, 2, 0.75, 4), (6, 2, 0.75, 2), (8, 2, 0.9, 1), (8, 2, 0.5, 8)]
    for side, patch, masked, visible in sides:
        assert small(masked, image_size=side, patch_size=patch, seed=None).visible == visible


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"masked": 0.95}, "0 would stay visible"),
        ({"masked": 1e-20}, "16 would stay visible"),
        ({"classifier": "gap"}, "needs a ViT with a"),
        ({"register_tokens": 1}, "no others"),
        ({"position": "sincos2d"}, "position table"),
        ({"width": 6}, "multiple of 4"),
        ({"patch_size": 1}, "set normalise=false"),
    ],
)
def test_what_mae_cannot_be_made_of_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        small(**fields)


def test_another_network_is_refused():
    resnet = ResNet(ResNetConfig(image_size=8, units=(1,), channels=1, num_classes=0), None)
    with pytest.raises(ConfigError, match="needs a ViT, but the model is a ResNet"):
        MAE(MAEConfig(), resnet, None)


@pytest.mark.parametrize(
    "wrong", [{"masked": 0.0}, {"masked": 1.0}, {"depth": 0}, {"width": 20, "heads": 3}, {"width": 6, "heads": 1}]
)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MAEConfig(**wrong)


def test_draws_are_permutations_and_their_inverses_with_all_patches_equally_often():
    objective, images = small(), np.zeros((4000, 1, 1, 1))
    found = objective.draw({"images": images}, 3, np.random.default_rng(0))
    order, back = found["order"], found["back"]
    assert (np.sort(order, axis=1) == np.arange(16)).all()
    assert (np.take_along_axis(order, back, axis=1) == np.arange(16)).all()
    seen = np.bincount(order[:, : objective.visible].ravel(), minlength=16) / 4000
    assert np.abs(seen - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 4000)
    assert not (order[1:] == order[0]).all(axis=1).any()  # every image has its own


def test_what_is_missing_cannot_be_seen_and_what_is_visible_can():
    objective, rng = small().eval(), np.random.default_rng(0)
    batch = drawn(objective, rng.normal(size=(2, 8, 8, 1)))
    missing = (batch["back"] >= objective.visible).reshape(2, 4, 4).repeat(2, axis=1).repeat(2, axis=2)[..., None]
    (before,) = objective(batch)
    for where, changes in ((missing, False), (~missing, True)):
        other = batch | {"images": batch["images"] + where * rng.normal(size=(2, 8, 8, 1))}
        assert (not np.array_equal(objective(other)[0].data, before.data)) == changes


def test_a_class_token_of_zeros_is_drawn_and_another_is_kept():
    encoder = ViT(shape(), 0, "float64")
    assert not encoder.class_token.data.any()
    assert MAE(MAEConfig(0.5, 8, 1, 2, 16), encoder, 0, "float64").encoder.class_token.data.std() < 0.1
    kept = encoder.class_token.data.copy()
    assert kept.any()
    MAE(MAEConfig(0.5, 8, 1, 2, 16), encoder, 5, "float64")
    assert np.array_equal(encoder.class_token.data, kept)


def test_it_learns_what_neighbours_tell():
    """The patches of an image are all alike, and which they are is seen in the visible ones."""
    rng = np.random.default_rng(0)
    tiles = rng.normal(size=(3, 2, 2, 1))
    images = np.tile(tiles[rng.integers(0, 3, 32)], (1, 4, 4, 1))
    objective = small(normalise=False)
    optimizer = AdamW(objective.named_parameters(), lr=1e-2)
    losses = []
    for i in range(150):
        batch = drawn(objective, images, i)
        loss = objective.loss(objective(batch, np.random.default_rng(i)), batch)
        optimizer.step(grad(loss, optimizer.parameters))
        losses.append(loss.item())
    best_guess = np.square(images - images.mean(axis=0)).mean()  # without looking
    assert losses[0] > best_guess > 0.1
    assert np.mean(losses[-5:]) < best_guess / 10


@pytest.mark.parametrize("normalise", [True, False])
def test_painted_patches_are_kept_where_visible_and_predicted_elsewhere(normalise):
    objective, rng = small(normalise=normalise), np.random.default_rng(0)
    batch = drawn(objective, rng.normal(size=(3, 8, 8, 1)))
    seen, painted = (unpatchify(x, objective.encoder.config) for x in objective.paint(batch))
    missing = (batch["back"] >= objective.visible).reshape(3, 4, 4).repeat(2, axis=1).repeat(2, axis=2)[..., None]
    assert np.array_equal(seen, np.where(missing, 0, batch["images"]))
    assert np.array_equal(painted[~missing], batch["images"][~missing])
    (predicted,) = objective.eval()(batch)
    for b, row, column in np.ndindex(3, 4, 4):
        place = (b, slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2), 0)
        true, expected = batch["images"][place], predicted.data[b, 4 * row + column].reshape(2, 2)
        if normalise:
            expected = expected * np.sqrt(true.var(ddof=1) + 1e-6) + true.mean()
        assert np.allclose(painted[place], expected if missing[place].all() else true)


def test_reconstructions_are_drawn_in_true_colours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = {}
    monkeypatch.setattr(pictures, "image_rows", lambda found, title, path: rows.update(found, path=path))
    objective = small(image_size=(4, 8), channels=3, dtype="float32")
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 3), np.uint8)
    recipe = Recipe(model=objective.encoder.config, mean=(0.4, 0.5, 0.6), std=0.25)
    (line,) = mae.HOW["reconstructions"](objective, ArrayDataset(images, [0] * 3, ["any"], "noise"), recipe)
    assert (line, rows.pop("path").parent.is_dir()) == (str(Path("pictures", "reconstructions.png")), True)
    assert [x.shape for x in rows.values()] == [(3, 4, 8, 3)] * 3
    assert np.allclose(rows["image"], images / 255, atol=1e-6)
    known = np.isclose(rows["seen"], rows["image"], atol=1e-6).all(axis=-1).mean()
    assert known == objective.visible / objective.patches
    assert np.isclose(rows["completed"], rows["image"], atol=1e-6).all(axis=-1).mean() == known


def test_pieces_count_what_encoder_and_decoder_see():
    assert MAE(
        MAEConfig(), ViT(ViTConfig(width=768, heads=12, num_classes=0), None), None
    ).tokens == 50 + 197 * 512 * 8 // (768 * 12)
