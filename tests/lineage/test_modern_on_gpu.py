"""Modern ViTs on a GPU: a recorded step, with tables of positions that lie on the device."""

import dataclasses

import numpy as np
import pytest

from minivit.data import ArrayDataset
from minivit.lineage.modern import ModernConfig
from minivit.runs.recipes import Recipe
from minivit.runs.trainer import Trainer

SHAPE = {"image_size": (8, 12), "patch_size": 4, "width": 16, "depth": 2, "heads": 2, "num_classes": 3}
MODELS = {
    "axial": {"rope": "axial", "norm": "rms", "qk_norm": True, "mlp": "swiglu", "register_tokens": 2},
    "mixed and table": {"rope": "mixed", "relative": "table", "class_token": True, "qkv_bias": "qv", "fc_norm": True},
    "dinov3 and network": {"rope": "dinov3", "rope_halves": True, "relative": "shared-mlp", "drop_path": 0.2},
}
# SGD, since AdamW blows up the rounding errors of gradients that are nearly zero.
RECIPE = Recipe(batch_size=6, steps=5, optimizer="sgd", lr=0.1, ema=0.8, eval_every=5, workers=1, accumulate=1)

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


@pytest.mark.parametrize(("name", "recompute"), list(zip(MODELS, (False, True, True), strict=True)))
def test_a_run_has_the_same_metrics_as_on_numpy(name, recompute):
    recipe = dataclasses.replace(RECIPE, model=ModernConfig(**SHAPE, **MODELS[name]), recompute=recompute)
    found, trainer = train(recipe, "cupy")
    assert trainer.work.recorded
    expected, _ = train(recipe, "numpy")
    for figure in ("train_loss", "test_loss"):
        assert found[figure] == pytest.approx(expected[figure], rel=1e-4), figure


@pytest.mark.parametrize("name", ["mixed and table", "dinov3 and network"])
def test_mixed_precision_is_what_numpy_emulates(name):
    recipe = dataclasses.replace(RECIPE, model=ModernConfig(**SHAPE, **MODELS[name]), precision="bf16", steps=3)
    found, expected = (train(recipe, backend)[0]["train_loss"] for backend in ("cupy", "numpy"))
    assert found == pytest.approx(expected, rel=2**-8)
