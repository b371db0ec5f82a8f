"""Networks with attention in place of convolutions on a GPU: recorded steps have the metrics of NumPy."""

import dataclasses

import pytest
from lineage.test_attention_networks import SMALL, config
from lineage.test_modern_on_gpu import RECIPE, train

MODELS = {name: config(name, channels=3) for name in SMALL}
MODELS["sasa of attention alone"] = config("sasa", channels=3, units=(1,), root="attention", border="zeros")
pytestmark = [
    pytest.mark.parametrize("device", ["standin", "cupy"], indirect=True),
    pytest.mark.usefixtures("device"),
]


@pytest.mark.parametrize("name", MODELS)
def test_a_run_has_the_same_metrics_as_on_numpy(name):
    recipe = dataclasses.replace(RECIPE, model=MODELS[name], lr=0.05)
    found, trainer = train(recipe, "cupy")
    assert trainer.work.recorded
    expected, _ = train(recipe, "numpy")
    for figure in ("train_loss", "test_loss"):
        assert found[figure] == pytest.approx(expected[figure], rel=1e-4), figure


@pytest.mark.parametrize("name", MODELS)
def test_mixed_precision_trains(name):
    recipe = dataclasses.replace(RECIPE, model=MODELS[name], lr=0.05)
    found = train(dataclasses.replace(recipe, precision="bf16"), "cupy")[0]["train_loss"]
    assert found == pytest.approx(train(recipe, "numpy")[0]["train_loss"], rel=0.05)
