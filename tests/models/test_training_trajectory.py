"""Twelve training steps of the published code, step by step: model, loss, clipping and optimisers together."""

import numpy as np
import pytest

from minivit import functional as F
from minivit.models import ViT, ViTConfig
from minivit.models.convert import to_official
from minivit.optim import SGD, AdamW, clip_by_global_norm
from minivit.tensor import grad

CONFIG = ViTConfig(image_size=16, patch_size=4, width=24, heads=3, mlp_width=40, depth=2, num_classes=5)


def optimizer_of(kind, model, lrs):
    if kind == "sgd":
        return SGD(model.named_parameters(), lambda step: lrs[step], momentum=0.9)
    return AdamW(model.named_parameters(), lambda step: 0.03 * lrs[step], weight_decay=0.1)


def train(kind, recorded, dtype):
    """Losses, gradient norms and the model after the recorded batches."""
    start = {key.removeprefix("p0/"): array for key, array in recorded.items() if key.startswith("p0/")}
    model = ViT(CONFIG, seed=None, dtype=dtype)
    for key, view in to_official(model.state_dict(), CONFIG).items():
        view[...] = start[key]
    optimizer = optimizer_of(kind, model, recorded["lrs"])
    losses, norms = [], []
    for x, y in zip(recorded["x"], recorded["y"], strict=True):
        loss = F.cross_entropy(model(x), y)
        grads, norm = clip_by_global_norm(grad(loss, model.parameters()), 1.0)
        optimizer.step(grads)
        losses.append(loss.item())
        norms.append(norm)
    return losses, norms, model


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_float64(vectors, kind):
    recorded = vectors("train_traj")
    losses, norms, model = train(kind, recorded, "float64")
    np.testing.assert_allclose(losses, recorded[f"{kind}/losses"], rtol=1e-9)
    np.testing.assert_allclose(norms, recorded[f"{kind}/grad_norms"], rtol=1e-9)
    end = to_official(model.state_dict(), CONFIG)
    for key, array in end.items():
        np.testing.assert_allclose(array, recorded[f"{kind}/p_end/{key}"], rtol=1e-9, atol=1e-9, err_msg=key)
        if not key.endswith("key/bias"):
            assert abs(array - recorded[f"p0/{key}"]).max() > 1e-4, f"{key} was not trained"
    assert len(end) == sum(key.startswith(f"{kind}/p_end/") for key in recorded)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_float32(vectors, kind):
    recorded = vectors("train_traj")
    losses, norms, _ = train(kind, recorded, "float32")
    np.testing.assert_allclose(losses, recorded[f"{kind}/losses"], rtol=1e-5)
    np.testing.assert_allclose(norms, recorded[f"{kind}/grad_norms"], rtol=1e-4)
