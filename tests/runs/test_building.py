"""What a run is made of: its optimiser, with rates by layer and a weight decay that changes."""

import numpy as np
import pytest
from painting import painting  # noqa: F401

from minivit.errors import ConfigError
from minivit.models import ResNet, ResNetConfig, ViT, ViTConfig
from minivit.runs.building import make_optimizer
from minivit.runs.objectives import make_objective
from minivit.runs.recipes import Recipe
from minivit.update.objective import Classification

CONFIG = ViTConfig(image_size=8, patch_size=4, width=8, depth=2, heads=2, mlp_width=12, num_classes=3)


def rates_of(optimizer):
    """The learning rate of each parameter, by name."""
    return {name: lr for name, (lr, _) in zip(optimizer.names, optimizer.current(), strict=True)}


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_each_layer_learns_at_a_share_of_the_rate_of_the_next(kind):
    recipe = Recipe(model=CONFIG, lr=1.0, schedule="constant", warmup=0.0, layer_decay=0.5, optimizer=kind)
    found = rates_of(make_optimizer(recipe, make_objective(recipe, list("abc"), 10), 10))
    assert found["model.head.weight"] == found["model.norm.scale"] == 1
    assert found["model.blocks.1.mlp.out.bias"] == 0.5
    assert found["model.blocks.0.norm1.scale"] == 0.25
    assert found["model.class_token"] == found["model.position_embedding"] == 0.125


def test_what_follows_the_encoder_has_the_whole_rate(painting):  # noqa: F811
    body = ViTConfig(image_size=8, patch_size=4, width=8, depth=2, heads=2, mlp_width=12, num_classes=0)
    recipe = Recipe(model=body, lr=1.0, schedule="constant", warmup=0.0, layer_decay=0.5, objective={"name": "paint"})
    found = rates_of(make_optimizer(recipe, make_objective(recipe, [], 10), 10))
    assert found["paint.weight"] == 1
    assert found["network.class_token"] == 0.125


def test_layers_that_cannot_be_counted_are_refused():
    shape = ResNetConfig(image_size=8, units=(1,), width=4, groups=2, root="3x3", num_classes=3)
    with pytest.raises(ConfigError, match="layer_decay is for Vision Transformers, and the encoder is a ResNet"):
        make_optimizer(Recipe(model=shape, layer_decay=0.5), Classification(ResNet(shape)), 10)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_the_weight_decay_can_change_along_half_a_cosine(kind):
    recipe = Recipe(model=CONFIG, weight_decay=0.04, final_weight_decay=0.4, optimizer=kind)
    optimizer = make_optimizer(recipe, Classification(ViT(CONFIG, seed=None)), 10)
    found = []
    for optimizer.steps in (0, 5, 10):
        found.append(max(decay for _, decay in optimizer.current()))
    np.testing.assert_allclose(found, [0.04, 0.22, 0.4])


class Held(Classification):
    """Its head is held at first, its learned tokens decay."""

    def optimizer_options(self, total_steps):
        held = lambda step: float(step >= total_steps // 2)
        return {"rates": {"model.head.weight": held}, "decay": lambda name, p: name.endswith("token")}


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_an_objective_has_a_say_in_its_optimiser(kind):
    recipe = Recipe(
        model=CONFIG, lr=1.0, schedule="constant", warmup=0.0, layer_decay=0.5, optimizer=kind, weight_decay=0.3
    )
    optimizer = make_optimizer(recipe, Held(ViT(CONFIG, seed=None)), 10)
    assert rates_of(optimizer)["model.blocks.1.mlp.out.bias"] == 0.5
    found = []
    for optimizer.steps in (0, 4, 5):
        found.append(rates_of(optimizer)["model.head.weight"])
    assert found == [0, 0, 1]
    decays = {name: decay for name, (_, decay) in zip(optimizer.names, optimizer.current(), strict=True)}
    assert {name for name, decay in decays.items() if decay} == {"model.class_token"}


@pytest.mark.parametrize("wrong", [{"layer_decay": 0.0}, {"layer_decay": 1.5}, {"final_weight_decay": -0.1}], ids=str)
def test_values_that_make_no_sense(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Recipe(**wrong)
