"""Networks with attention in place of convolutions on a GPU: recorded steps have the metrics of NumPy."""

import dataclasses

import numpy as np
import pytest

from minivit.data import ArrayDataset
from minivit.models import families
from minivit.runs.recipes import Recipe
from minivit.runs.trainer import Trainer

MODELS = {
    "sasa": {"units": (1, 1), "width": 8, "heads": 2, "window": 3, "root": "3x3", "border": "masked"},
    "cordonnier": {"patch": 2, "width": 12, "depth": 1, "heads": 4, "mlp_width": 16},
    "axial": {"units": (1, 1), "width": 4, "heads": 2, "root": "3x3"},
    "visual_transformer": {"units": (1, 1), "modules": 2, "tokens": 3, "token_width": 12, "attention_width": 8,
                           "width": 4, "root": "3x3"},
    "sasa of attention alone": {"units": (1,), "width": 8, "heads": 2, "window": 3, "root": "attention"},
}  # fmt: skip
pytestmark = [
    pytest.mark.parametrize("device", ["standin", "cupy"], indirect=True),
    pytest.mark.usefixtures("device"),
]


def train(name, backend, **changes):
    """The metrics of a run on images whose brightness tells the class, and the Trainer."""
    fields = {"name": name.split()[0], **MODELS[name], "image_size": 8, "num_classes": 3, "channels": 1}
    model, rng, labels = families.config_of(fields, "test"), np.random.default_rng(0), np.arange(24) % 3
    images = (rng.integers(0, 100, (24, 8, 8, 1)) + 70 * labels[:, None, None, None]).astype("uint8")
    data = ArrayDataset(images, labels, ["dark", "grey", "light"], "noise")
    recipe = Recipe(
        model=model,
        batch_size=6,
        steps=5,
        optimizer="sgd",
        lr=0.05,
        eval_every=5,
        workers=1,
        accumulate=1,
        backend=backend,
    )
    trainer = Trainer(dataclasses.replace(recipe, **changes), data, data, None)
    for _ in trainer.run():
        pass
    return trainer.metrics[-1], trainer


@pytest.mark.parametrize("name", MODELS)
def test_a_run_has_the_same_metrics_as_on_numpy(name):
    found, trainer = train(name, "cupy")
    assert trainer.work.recorded
    expected, _ = train(name, "numpy")
    for figure in ("train_loss", "test_loss"):
        assert found[figure] == pytest.approx(expected[figure], rel=1e-4), figure


@pytest.mark.parametrize("name", MODELS)
def test_mixed_precision_trains(name):
    found = train(name, "cupy", precision="bf16")[0]["train_loss"]
    assert found == pytest.approx(train(name, "numpy")[0]["train_loss"], rel=0.05)
