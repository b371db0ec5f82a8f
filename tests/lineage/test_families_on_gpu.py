"""Networks of the lineage that classify, in a recorded step on the stand-in for CuPy, against NumPy."""

import numpy as np
import pytest
import standin_cupy
from lineage.test_contract import loader, parts_of
from lineage.test_convolutions import SHAPE as SIDES
from lineage.test_convolutions import SMALL

from minivit.backend import get_namespace, to_numpy
from minivit.data import ArrayDataset
from minivit.models.families import build, config_of
from minivit.update.device import DeviceStep
from minivit.update.objective import Classification
from minivit.update.step import step

SHAPE = {"image_size": [10, 12], "channels": 1, "num_classes": 3, "drop_path": 0.1}
SWIN = {"patch_size": 2, "width": 8, "depths": [2, 2], "heads": [2, 2], "window": 4}
FAMILIES = {
    "swin, official": {"name": "swin", **SWIN},
    "swin, timm": {"name": "swin", "padding": "timm", **SWIN},
    "swin, hf": {"name": "swin", "padding": "hf", "image_size": [14, 16], **SWIN},
    "hiera": {
        "name": "hiera", "image_size": [8, 16], "depths": [1, 2, 1], "width": 8, "pools": 2, "unit": 4,
        "patch_kernel": 3, "patch_size": 2, "patch_padding": [1, 1],
    },
    "vivit": {
        "name": "vivit", "frames": 1, "tubelet": [1, 5, 4], "attention": "factorised", "width": 8, "depth": 1,
        "heads": 2, "temporal_depth": 1,
    },
    "timesformer": {"name": "timesformer", "frames": 1, "patch_size": [5, 4], "width": 8, "depth": 2, "heads": 2},
    "vitdet": {
        "name": "vitdet", "patch_size": 2, "pretrain_size": 6, "width": 8, "depth": 2, "heads": 2, "mlp_width": 8,
        "window": 4, "global_blocks": [1], "residual_blocks": [1],
    },
}  # fmt: skip
FAMILIES = {name: {**SHAPE, **fields} for name, fields in FAMILIES.items()}
FAMILIES |= {name: {"name": name, **SIDES, **fields} for name, fields in SMALL.items()}


@pytest.fixture
def cupy():
    with standin_cupy.installed() as module:
        get_namespace("cupy")
        yield module


@pytest.mark.parametrize("name", FAMILIES)
def test_a_recorded_step_does_what_step_does(name, cupy):
    rng, config = np.random.default_rng(0), config_of(FAMILIES[name], "test")
    images = rng.integers(0, 256, (12, *config.image_size, 1), np.uint8)
    data, found = ArrayDataset(images, [0, 1, 2] * 4, ["a", "b", "c"], "noise"), {}
    for device in ("numpy", "cupy"):
        objective = Classification(build(config), "softmax", 0.0, 0.0, 0.0).train()
        optimizer, ema = parts_of(objective, device)
        work, losses = DeviceStep(objective, optimizer, 1.0, ema, 2) if device == "cupy" else None, []
        for i in range(3):
            batch = loader(objective, data).batch(i)
            if work:
                with work.active():
                    work.update({key: cupy.asarray(x) for key, x in batch.items()}, seed=(3, i, 2))
                    losses.append(work.read()[0].loss)
            else:
                losses.append(step(objective, optimizer, batch, 1.0, None, 2, seed=(3, i, 2)).loss)
        assert not work or work.recorded
        found[device] = losses, {key: to_numpy(x) for key, x in objective.state_dict().items()}
    assert found["numpy"][0] == pytest.approx(found["cupy"][0], rel=1e-4)
    for key, array in found["numpy"][1].items():
        np.testing.assert_allclose(found["cupy"][1][key], array, rtol=1e-3, atol=1e-4, err_msg=key)
