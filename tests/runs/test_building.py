"""What a run is made of: its optimiser, with rates by layer and a weight decay that changes."""

import contextlib
import dataclasses

import numpy as np
import pytest
from painting import painting  # noqa: F401

from minivit.data import ArrayDataset
from minivit.errors import ConfigError, DataError
from minivit.models import ResNet, ResNetConfig, ViT, ViTConfig
from minivit.runs.building import check_fits, layerwise, make_optimizer
from minivit.runs.objectives import make_objective
from minivit.runs.recipes import Recipe
from minivit.runs.trainer import Trainer
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


def test_where_the_encoder_follows_another_network_the_other_has_the_rates_and_is_frozen():
    objective = {"name": "dino", "outputs": 4, "hidden": 8, "bottleneck": 4, "local_size": (8, 8)}
    model = ViTConfig(image_size=16, patch_size=4, width=8, depth=2, heads=2, mlp_width=8, num_classes=0)
    recipe = Recipe(model=model, objective=objective, layer_decay=0.5, steps=4, batch_size=4)
    rates = layerwise(recipe, make_objective(recipe, [], 8))
    assert rates["student.encoder.class_token"] == 0.125
    assert rates["student.encoder.blocks.1.mlp.out.weight"] == 0.5
    assert rates["student.head.layers.0.weight"] == 1
    images = ArrayDataset(np.zeros((8, 16, 16, 3), np.uint8), [0, 1] * 4, ["ant", "bee"], "photos")
    frozen = Trainer(dataclasses.replace(recipe, layer_decay=None, freeze=1), images, None, None).objective
    learning = {name for name, _ in frozen.named_parameters()}
    assert not {"student.encoder.class_token", "student.encoder.blocks.0.mlp.out.weight"} & learning
    assert {"student.encoder.blocks.1.mlp.out.weight", "student.head.layers.0.weight"} <= learning


def test_a_teacher_without_weights_teaches_nobody():
    shape = ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, mlp_width=8, num_classes=2)
    objective = {"name": "deit", "teacher": "run", "mixup": 0.0, "cutmix": 0.0}
    student = dataclasses.replace(shape, distillation_token=True)
    recipe = Recipe(model=student, objective=objective, teacher=shape, steps=1, batch_size=4)
    images = ArrayDataset(np.zeros((4, 8, 8, 3), np.uint8), [0, 1] * 2, ["ant", "bee"], "photos")
    with pytest.raises(ConfigError, match="the run needs its teacher's weights"):
        list(Trainer(recipe, images, None, None).run())
    assert len(list(Trainer(recipe, images, None, None, teacher=ViT(shape)).run())) == 1


@pytest.mark.parametrize(
    ("objective", "classes", "channels", "message"),
    [
        (None, 3, 3, "photos has 3 classes and 3 channels, the model 2 classes and 3 channels"),
        ({"name": "deit", "distillation": "none"}, 3, 3, "photos has 3 classes and 3 channels, the model 2 classes"),
        ({"name": "deit", "distillation": "none"}, 2, 1, "photos has 2 classes and 1 channels"),
        ({"name": "mae"}, 3, 1, "^photos has 1 channels, the model 3$"),
        ({"name": "mae"}, 3, 3, None),
        ({"name": "deit", "distillation": "none"}, 2, 3, None),
    ],
    ids=str,
)
def test_data_fit_the_model_if_it_is_to_answer_also_in_their_classes(objective, classes, channels, message):
    recipe = Recipe(model=ViTConfig(num_classes=2), objective=objective)
    images = ArrayDataset(np.zeros((3, 4, 4, channels), np.uint8), [0, 1, 1], list("abc")[:classes], "photos")
    with pytest.raises(DataError, match=message) if message else contextlib.nullcontext():
        check_fits(recipe, images)


def test_layers_that_cannot_be_counted_are_refused():
    shape = ResNetConfig(image_size=8, units=(1,), width=4, groups=2, root="3x3", num_classes=3)
    with pytest.raises(ConfigError, match="layer_decay is for Vision Transformers, but the encoder is a ResNet"):
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
