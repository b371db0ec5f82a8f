"""Activation checkpointing: the same numbers from less memory."""

import tracemalloc

import numpy as np
import pytest

from minivit import functional as F
from minivit.models import ViT, ViTConfig
from minivit.nn.recompute import recompute
from minivit.tape import tape
from minivit.tensor import Tensor, enable_grad, grad, no_grad

CONFIG = ViTConfig(
    image_size=8, patch_size=2, width=16, depth=4, heads=2, num_classes=3, dropout=0.2, attention_dropout=0.1,
    drop_path=0.3,
)  # fmt: skip


def loss_and_gradients(model, frozen=()):
    for name, tensor in model.named_tensors():
        tensor.requires_grad = name not in frozen
    images = np.random.default_rng(1).standard_normal((5, 8, 8, 3))
    rng = np.random.default_rng(2)
    loss = F.cross_entropy(model(images, rng=rng), np.arange(5) % 3)
    return loss.data, grad(loss, model.parameters()), rng.random()


@pytest.mark.parametrize("frozen", [(), ("blocks.0.mlp.hidden.weight", "patch_embed.projection.weight")])
@pytest.mark.parametrize("training", [True, False])
def test_a_step_with_recomputed_blocks_is_the_same_step(training, frozen):
    model = ViT(CONFIG, dtype="float64").train(training)
    rng = np.random.default_rng(0)
    for p in model.parameters():
        p.data += 0.3 * rng.standard_normal(p.shape)
    loss, gradients, next_number = loss_and_gradients(model, frozen)
    model.recompute_blocks = True
    again, recomputed, number = loss_and_gradients(model, frozen)
    assert again == loss
    assert number == next_number  # the generator has moved on as far
    assert len(gradients) == len(model.named_tensors()) - len(frozen)
    for one, other in zip(gradients, recomputed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_tape_holds_one_node_and_its_input():
    w = Tensor(np.full(3, 2.0), requires_grad=True)
    x = Tensor(np.ones(3), requires_grad=True)
    y = recompute(lambda x, rng: F.tanh(x * w) * x, x, [w])
    assert [node.op for node in tape(y)] == ["recomputed"]
    gx, gw = grad(y, [x, w], np.ones(3))
    t = np.tanh(2)
    np.testing.assert_allclose(gx, 2 * (1 - t * t) + t)
    np.testing.assert_allclose(gw, 1 - t * t)


def test_memory_of_the_forward_pass_is_that_of_the_inputs_of_the_blocks():
    config = ViTConfig(image_size=32, patch_size=4, width=32, depth=6, heads=2, num_classes=3)
    images = np.zeros((8, 32, 32, 3), "float32")
    kept = {}
    for model in (ViT(config), ViT(config)):
        model.recompute_blocks = bool(kept)
        tracemalloc.start()
        logits = model(images)
        kept[model.recompute_blocks] = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        del logits
    assert kept[True] < kept[False] / 5


def test_an_input_that_takes_no_gradient():
    w = Tensor(np.full(3, 2.0), requires_grad=True)
    y = recompute(lambda x, rng: x * w, Tensor(np.arange(3)), [w])
    np.testing.assert_array_equal(grad(y, [w], np.ones(3))[0], np.arange(3))


def test_parameters_that_were_computed_are_refused():
    w = Tensor(np.ones(3), requires_grad=True) * 3.0
    with pytest.raises(ValueError, match="leaf"):
        recompute(lambda x, rng: x * w, Tensor(np.ones(3)), [w])


def test_without_gradients_nothing_is_recorded():
    with no_grad():
        assert not recompute(lambda x, rng: x * 2.0, Tensor(np.ones(2), requires_grad=True), []).requires_grad
        with enable_grad():
            assert (Tensor(np.ones(2), requires_grad=True) * 2.0).requires_grad
        assert not (Tensor(np.ones(2), requires_grad=True) * 2.0).requires_grad
