"""SimMIM: held to a recording, and to a slow second implementation."""

from pathlib import Path

import numpy as np
import pytest
from masked_by_hand import SIZES, arrays, check_gradients, encoded, hidden_behind
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import simmim, verify
from minivit.lineage.pictures import unpatchify
from minivit.lineage.recorded import simmim as recorded
from minivit.lineage.simmim import SimMIM, SimMIMConfig
from minivit.models import ViT, ViTConfig
from minivit.models.archive import write_safetensors
from minivit.optim import AdamW
from minivit.tensor import grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "simmim"
OTHERS = {
    "not square": {"patch": [4, 2]},
    "one channel, deeper": {"channels": 1, "depth": 3, "heads": 4},
    "the published encoder": {"relative": True, "absolute": False, "scaled": True, "norm_eps": 1e-5},
    "both tables": {"relative": True, "scaled": True, "image": [8, 8]},
}


def small(unit=4, masked=0.6, seed=0, **fields):
    sizes = {"image_size": 8, "patch_size": 2, "width": 8, "depth": 1, "heads": 2, "mlp_width": 16, "channels": 1}
    return SimMIM(
        SimMIMConfig(masked, unit),
        ViT(ViTConfig(**{**sizes, "num_classes": 0, **fields}), seed, "float64"),
        seed,
        "float64",
    )


def test_the_recording():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 10


def normalised(self, patches):
    deviation = F.sqrt(F.var(patches, axis=-1, keepdims=True, ddof=1) + 1e-6)
    return real_shuffled(self, (patches - patches.mean(axis=-1, keepdims=True)) / deviation)


def as_in_mae(self, patches):
    return patches


def visible(self, mask):
    return real_weights(self, ~mask)


def all_pixels(self, mask):
    return real_weights(self, mask | True)


def of_each_channel(self, mask):
    return real_weights(self, mask) * self.network.config.channels


def constant_target(self, patches):
    return real_shuffled(self, patches.detach() if hasattr(patches, "detach") else type(patches)(patches.data))


real_shuffled, real_weights = SimMIM.shuffled, SimMIM.weights
WRONG = [
    (SimMIM, "shuffled", normalised, "loss"),
    (SimMIM, "shuffled", as_in_mae, "loss"),
    (SimMIM, "shuffled", constant_target, "grad_input/image"),
    (SimMIM, "in_rows", as_in_mae, "reconstruction"),
    (SimMIM, "weights", visible, "loss"),
    (SimMIM, "weights", all_pixels, "loss"),
    (SimMIM, "weights", of_each_channel, "loss"),
    (simmim, "EPS", 0.0, "loss"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


def by_hand(size, weights, mask):
    """Functions of (weights, image): the reconstruction, and the loss."""
    (high, wide), columns = size["patch"], size["image"][1] // size["patch"][1]

    def painted(w, image):
        found = np.zeros_like(image)
        for b in range(len(image)):
            features = encoded(size, w, image[b], hidden_behind(w, mask[b].ravel()))
            for n, row in enumerate(features @ w["decoder.0.weight"][:, :, 0, 0].T + w["decoder.0.bias"]):
                for c, i, j in np.ndindex(size["channels"], high, wide):
                    place = high * (n // columns) + i, wide * (n % columns) + j
                    found[b, c, *place] = row[c * high * wide + i * wide + j]
        return found

    def loss(w, image):
        hidden = mask.repeat(high, axis=1).repeat(wide, axis=2)[:, None]
        return (np.abs(image - painted(w, image)) * hidden).sum() / (hidden.sum() + 1e-5) / size["channels"]

    return painted, loss


def with_decoder(size, rng):
    pixels = np.prod(size["patch"]) * size["channels"]
    decoder = {
        "decoder.0.weight": rng.normal(size=(pixels, size["width"], 1, 1)),
        "decoder.0.bias": rng.normal(size=pixels),
    }
    return arrays(size, rng) | decoder


def published(weights):
    return {name if name.startswith("decoder") else f"encoder.{name}": x for name, x in weights.items()}


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes):
    size, rng = {**SIZES, **changes}, np.random.default_rng(1)
    weights = with_decoder(size, rng)
    rows, columns = (side // patch for side, patch in zip(size["image"], size["patch"], strict=True))
    mask, image = rng.integers(0, 2, (2, rows, columns)), rng.normal(size=(2, size["channels"], *size["image"]))
    painted, loss = by_hand(size, weights, mask)
    found = {
        "image": image,
        "mask": mask,
        "reconstruction": painted(weights, image),
        "loss": np.array(loss(weights, image)),
    }
    config = {name: size[name] for name in ("width", "depth", "heads", "mlp", "patch", "image", "norm_eps")}
    case = write_case(tmp_path, "simmim", config, published(weights), found)
    assert wrong_arrays(case) == []
    check_gradients(case, recorded.recompute, loss, weights, image, published)


def test_published_files_are_read(tmp_path):
    size, rng = (
        {**SIZES, **OTHERS["the published encoder"], "image": [12, 12], "norm_eps": 1e-6},
        np.random.default_rng(0),
    )
    weights, mask = with_decoder(size, rng), np.arange(9).reshape(1, 3, 3) % 2
    index = {"rel_pos_bias.relative_position_index": np.zeros((10, 10))}
    path = tmp_path / "simmim.safetensors"
    write_safetensors(path, published(weights | index), {})
    objective = recorded.open_pretrained(path, "float64", num_heads=2).eval()
    image = rng.normal(size=(1, 3, 12, 12))
    outputs = objective({"images": np.moveaxis(image, 1, -1), "mask": mask.reshape(1, 9) > 0})
    found = unpatchify(objective.in_rows(outputs[0].data), objective.encoder.config)
    assert np.allclose(np.moveaxis(found, -1, 1), by_hand(size, weights, mask)[0](weights, image), rtol=0, atol=1e-12)
    for wrong, message in (
        (weights, "expected encoder.mask_token"),
        ({**published(weights), "layers.0": image}, "layers.0"),
    ):
        write_safetensors(path, wrong, {})
        with pytest.raises(CheckpointError, match=message):
            recorded.open_pretrained(path)


def test_squares_are_hidden_as_a_whole_and_as_many_as_published():
    found = small(4).draw({"images": np.zeros((400, 1))}, 0, np.random.default_rng(0))
    mask = found["mask"].reshape(400, 4, 4)
    squares = mask[:, ::2, ::2]
    assert np.array_equal(squares.repeat(2, axis=1).repeat(2, axis=2), mask)
    assert (squares.sum(axis=(1, 2)) == 3).all()  # the ceiling of 0.6 * 4
    assert len(np.unique(squares.reshape(400, 4), axis=0)) == 4
    assert (found["weight"].sum(axis=1) * 4).mean() == pytest.approx(1, rel=1e-6)
    published = SimMIM(SimMIMConfig(), ViT(ViTConfig(num_classes=0), None), None)
    assert published.draw({"images": np.zeros((1, 1))}, 0, np.random.default_rng(0))["mask"].sum() == 30 * 4


def test_pixels_return_to_their_places():
    objective = small(channels=3)
    patches = np.random.default_rng(0).normal(size=(2, 16, 12))
    shuffled = objective.shuffled(objective.tensor(patches)).data
    assert np.array_equal(shuffled[0, 0, :4], patches[0, 0, ::3])  # the first channel
    assert np.array_equal(objective.in_rows(shuffled), patches)


def test_what_is_hidden_is_painted_and_what_is_visible_stays():
    objective, rng = small(channels=3), np.random.default_rng(0)
    batch = {"images": rng.normal(size=(2, 8, 8, 3))}
    batch |= objective.draw(batch, 0, rng)
    seen, painted = (unpatchify(x, objective.encoder.config) for x in objective.paint(batch))
    hidden = batch["mask"].reshape(2, 4, 4).repeat(2, axis=1).repeat(2, axis=2)[..., None]
    assert np.array_equal(seen, np.where(hidden, 0, batch["images"]))
    predicted = unpatchify(objective.in_rows(objective.eval()(batch)[0].data), objective.encoder.config)
    assert np.array_equal(painted, np.where(hidden, predicted, batch["images"]))


def test_it_learns_what_neighbours_tell():
    """An image has one grey."""
    grey = np.random.default_rng(0).normal(size=32)
    images, objective = np.broadcast_to(grey[:, None, None, None], (32, 8, 8, 1)), small()
    optimizer, losses = AdamW(objective.named_parameters(), lr=2e-2), []
    for i in range(40):
        batch = {"images": images} | objective.draw({"images": images}, i, np.random.default_rng(i))
        loss = objective.loss(objective(batch), batch)
        optimizer.step(grad(loss, optimizer.parameters))
        losses.append(loss.item())
    best_guess = np.abs(grey - np.median(grey)).mean()  # without looking
    assert losses[0] > best_guess
    assert np.mean(losses[-5:]) < 0.6 * best_guess


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"unit": 3}, "unit"), ({"unit": 6}, "unit"), ({"masked": 0.0}, "masked"), ({"unit": 0}, "unit")],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        small(**fields)
