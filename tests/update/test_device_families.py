"""ResNets and hybrids on a GPU: most of their ops run as they are written, also in a recorded step."""

import dataclasses

import numpy as np
import pytest

from minivit.data import ArrayDataset
from minivit.models import ResNetConfig, ViTConfig
from minivit.runs.recipes import Recipe
from minivit.runs.trainer import Trainer

RESNET = ResNetConfig(units=(1, 2), image_size=12, width=8, groups=4, num_classes=3, root="3x3")
MODELS = {
    "resnet": RESNET,
    "resnet-7x7": dataclasses.replace(RESNET, root="7x7", units=(1, 1), image_size=(20, 17)),
    "hybrid": ViTConfig(
        image_size=16,
        patch_size=1,
        width=32,
        depth=2,
        heads=2,
        num_classes=3,
        stem=(1, 1),
        stem_width=32,
        drop_path=0.2,
    ),
}
# SGD, since AdamW blows up the rounding errors of gradients that are nearly zero.
RECIPE = Recipe(batch_size=6, steps=10, optimizer="sgd", lr=0.3, ema=0.8, eval_every=10, workers=1, accumulate=1)

pytestmark = [
    pytest.mark.parametrize("device", ["standin", "cupy"], indirect=True),
    pytest.mark.usefixtures("device"),
]


def train(recipe, backend):
    """The metrics of a run on images whose brightness tells the class, and the Trainer."""
    rng, labels = np.random.default_rng(0), np.arange(24) % 3
    noise = rng.integers(0, 100, (24, *recipe.model.image_size, 3)) + 70 * labels[:, None, None, None]
    data = ArrayDataset(noise.astype("uint8"), labels, ["dark", "grey", "light"], "noise")
    trainer = Trainer(dataclasses.replace(recipe, backend=backend), data, data, None)
    for _ in trainer.run():
        pass
    return trainer.metrics[-1], trainer


@pytest.mark.parametrize("choices", [{}, {"recompute": True}], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_a_run_has_the_same_metrics_as_on_numpy(name, choices):
    recipe = dataclasses.replace(RECIPE, model=MODELS[name], **choices)
    found, trainer = train(recipe, "cupy")
    assert trainer.work.recorded
    expected, _ = train(recipe, "numpy")
    assert expected["test_loss"] < 0.8  # of 1.1 at the start
    for figure in ("train_loss", "test_loss"):
        assert found[figure] == pytest.approx(expected[figure], rel=1e-4), figure


@pytest.mark.parametrize("name", MODELS)
def test_mixed_precision_is_what_numpy_emulates(name):
    """Convolutions and what comes with them stay in float32 on both. Few steps: later ones magnify every rounding."""
    recipe = dataclasses.replace(RECIPE, model=MODELS[name], precision="bf16", steps=3, eval_every=3)
    found, expected = (train(recipe, backend)[0]["train_loss"] for backend in ("cupy", "numpy"))
    if name == "hybrid":  # numbers between two of bf16 go to one or the other, as the last bit of a sum has it
        assert found == pytest.approx(expected, rel=2**-8)
    else:
        full = train(dataclasses.replace(recipe, precision="float32"), "numpy")[0]["train_loss"]
        assert abs(found - expected) < abs(full - expected) / 10


def test_float64_runs_on_the_ops_themselves():
    recipe = dataclasses.replace(RECIPE, model=MODELS["resnet"], precision="float64")
    found, expected = (train(recipe, backend)[0] for backend in ("cupy", "numpy"))
    assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-9)
