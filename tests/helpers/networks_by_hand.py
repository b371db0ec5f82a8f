"""Recordings made by a slow second implementation of a network, and how ours agree with them."""

import numpy as np
import pytest
from convolutions_by_hand import cross_entropy
from recordings import write_case, wrong_arrays

STEP = 1e-6


def agree(folder, system, config, weights, slow, images, recompute, written=None, layout="NCHW"):
    """Check output, loss and maps inside, and gradients along one direction each, against differences.

    slow: (images, weights) -> output and maps inside.   written: other names of the weights in the file.
    """
    rng, written = np.random.default_rng(5), written or {}
    output, inside = slow(images, weights)
    labels, cotangent = rng.integers(0, output.shape[1], len(images)), rng.normal(size=output.shape)
    maps = output.ndim == 4

    def loss(images, weights):
        output = slow(images, weights)[0]
        return (output * cotangent).sum() if maps else cross_entropy(output, labels)

    found = {"a/image": images, "a/output": output, "a/loss": np.asarray(loss(images, weights))}
    found |= {"a/cotangent": cotangent} if maps else {"a/labels": labels}
    found |= {f"a/tap/{name}": x for name, x in inside.items()}
    learned = [name for name in weights if "running" not in name]
    found |= {f"a/grad/{written.get(name, name)}": np.zeros_like(weights[name]) for name in learned}
    names = {written.get(name, name): x for name, x in weights.items()}
    case = write_case(folder, system, config, names, found, layout)
    assert {name for name in wrong_arrays(case) if "/grad/" not in name} == set()
    computed = recompute(case)
    gradients = {name: computed[f"a/grad/{written.get(name, name)}"] for name in learned}
    assert {name: x.shape for name, x in gradients.items()} == {name: weights[name].shape for name in learned}
    way = {name: rng.normal(size=weights[name].shape) for name in learned}
    ahead, behind = ({**weights, **{n: weights[n] + s * way[n] for n in learned}} for s in (STEP, -STEP))
    difference = (loss(images, ahead) - loss(images, behind)) / (2 * STEP)
    along = sum((gradients[name] * way[name]).sum() for name in learned)
    assert along == pytest.approx(difference, rel=1e-6, abs=1e-7)
    way = rng.normal(size=images.shape)
    difference = (loss(images + STEP * way, weights) - loss(images - STEP * way, weights)) / (2 * STEP)
    assert (computed["a/grad_input/image"] * way).sum() == pytest.approx(difference, rel=1e-6, abs=1e-7)
    norm = np.sqrt(sum(np.square(x).sum() for x in gradients.values()))
    assert computed["a/grad_norm"] == pytest.approx(norm, rel=1e-12)
    return case
