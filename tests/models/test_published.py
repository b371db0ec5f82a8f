"""Logits, losses and every gradient of the published code, on recorded weights in the released layout.

The weights go in through `load_pretrained` and the gradients come out through `to_official`: a wrong reading of the
layout would show in the logits.
"""

import dataclasses
import functools

import numpy as np
import pytest

from minivit import functional as F
from minivit.backend import kernels, windows
from minivit.backend.windows import window_span
from minivit.models import load_pretrained
from minivit.models.convert import to_official
from minivit.tensor import Tensor, grad

RECORDED = ["vit_tok", "vit_tok_rep", "hyb_r"]


def run(vectors, vector_path, name, dtype, **changes):
    """The recorded arrays, the model with the recorded weights, its input and its output."""
    io = vectors(f"{name}.io")
    model = load_pretrained(vector_path(f"{name}.ckpt.npz"), dtype=dtype, **changes).eval()
    x = Tensor(io["x"].astype(dtype), requires_grad=True)
    return io, model, x, model(x)


def gradients(loss, model, x):
    """The image gradient, and those of the parameters under their released names."""
    names = [name for name, _ in model.named_parameters()]
    gx, *grads = grad(loss, [x, *model.parameters()])
    return gx, to_official(dict(zip(names, grads, strict=True)), model.config)


def assert_gradients_agree(gx, ours, io, tolerance):
    """Within tolerance times the largest element; key biases are zero in theory, so they are compared absolutely."""
    assert set(ours) == {key.removeprefix("grad/") for key in io if key.startswith("grad/")}
    for key, g in {**ours, "x": gx}.items():
        recorded = io["gx" if key == "x" else f"grad/{key}"]
        assert g.shape == recorded.shape
        largest = 1e-2 if key.endswith("key/bias") else abs(recorded).max()
        np.testing.assert_allclose(g, recorded, rtol=0, atol=tolerance * largest, err_msg=key)


@pytest.mark.parametrize("name", RECORDED)
def test_float64(vectors, vector_path, name):
    io, model, x, logits = run(vectors, vector_path, name, "float64")
    np.testing.assert_allclose(logits.data, io["logits"], rtol=1e-9, atol=1e-10)
    loss = F.cross_entropy(logits, io["y"])
    assert loss.item() == pytest.approx(float(io["loss"]), rel=1e-11)
    assert F.cross_entropy(logits, io["soft_labels"]).item() == pytest.approx(float(io["loss_soft"]), rel=1e-11)
    tolerance = 1e-9 if io["gx"].dtype == "float64" else 1.2e-7  # some records are rounded to float32
    assert_gradients_agree(*gradients(loss, model, x), io, tolerance)


@pytest.mark.parametrize("name", RECORDED)
def test_float32(vectors, vector_path, name):
    io, model, x, logits = run(vectors, vector_path, name, "float32")
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits.data, io["logits_f32"], rtol=0, atol=5e-6)
    np.testing.assert_allclose(logits.data, io["logits"], rtol=0, atol=5e-6)
    loss = F.cross_entropy(logits, io["y"])
    assert loss.item() == pytest.approx(float(io["loss"]), rel=2e-6)
    gx, grads = gradients(loss, model, x)
    assert {g.dtype.name for g in (gx, *grads.values())} == {"float32"}
    assert_gradients_agree(gx, grads, io, 2e-5 if name.startswith("hyb") else 1e-5)


def test_symmetric_padding_and_another_epsilon_of_the_stem_are_told_apart(vectors, vector_path, monkeypatch):
    """The mistakes that a stem invites, by what the test of the logits would see of them."""

    def distance():
        io, _, _, logits = run(vectors, vector_path, "hyb_r", "float64")
        return abs(logits.data - io["logits"]).max()

    assert distance() < 1e-12
    with kernels("reference"):
        with monkeypatch.context() as m:
            m.setattr(windows, "window_span", symmetric_span)
            assert distance() > 0.1
        with monkeypatch.context() as m:
            m.setattr(F, "standardise", functools.partial(F.standardise, eps=1e-4))
            assert distance() > 1e-6


def symmetric_span(size, window, stride, padding):
    count, low, high = window_span(size, window, stride, padding)
    return count, high, low


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"gelu": "erf"}, 1e-3), ({"norm_eps": 1e-5}, 2.2e-5), ({"norm_eps": 1e-12}, 2.5e-6), ({"position": "none"}, 0.1)],
)
def test_other_conventions_are_told_apart(vectors, vector_path, changes, error):
    """The conventions of timm and Hugging Face move the logits by what was measured with their code: the tests above
    can see them."""
    io = vectors("vit_tok.io")
    model = load_pretrained(vector_path("vit_tok.ckpt.npz"), dtype="float64")
    other = type(model)(dataclasses.replace(model.config, **changes), dtype="float64")
    state = model.state_dict()
    other.load_state_dict({name: state[name] for name, _ in other.named_parameters()})
    distance = abs(other(io["x"]).data - io["logits"]).max()
    assert distance == pytest.approx(error, rel=0.2) if "position" not in changes else distance > error
