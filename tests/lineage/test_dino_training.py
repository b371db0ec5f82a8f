"""DINO in a training run: crops, numbers of a step, what learns and what follows."""

import math

import numpy as np
import pytest

from minivit.data import ArrayDataset, Augment
from minivit.errors import ConfigError
from minivit.lineage import Given, build
from minivit.lineage.dino import DINO, DINOConfig
from minivit.models import ResNet, ResNetConfig, ViT, ViTConfig
from minivit.optim import AdamW
from minivit.runs import folder as run_folder
from minivit.runs.presets import preset
from minivit.runs.recipes import Recipe, from_mapping
from minivit.runs.trainer import Trainer
from minivit.tensor import Tensor, grad


def small(seed=0, dtype="float64", total_steps=10, drop_path=0.0, **fields):
    shape = ViTConfig(
        image_size=8,
        patch_size=2,
        width=8,
        depth=2,
        heads=2,
        mlp_width=16,
        channels=1,
        num_classes=0,
        drop_path=drop_path,
    )
    own = DINOConfig(**{"outputs": 6, "hidden": 10, "bottleneck": 4, "local_crops": 2, "local_size": 4, **fields})
    return DINO(own, ViT(shape, seed, dtype), total_steps, seed, dtype)


def drawn(objective, count=4, step=5, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 8, 8, 1), np.uint8)
    batch = objective.prepare({"images": images}, Augment((8, 8), flip=True), rng)
    return {**batch, **objective.draw(batch, step, rng)}


def test_a_gradient_reaches_no_teacher():
    objective = small().eval()
    batch = drawn(objective)
    loss = objective.loss(objective(batch), batch)
    assert not objective.teacher.parameters()
    assert not any(name.startswith(("teacher", "centre")) for name, _ in objective.named_parameters())
    assert all(np.any(g) for g in grad(loss, objective.parameters()))


def test_only_the_student_leaves_paths_out():
    objective = small(drop_path=0.5).train()
    batch = drawn(objective)
    (one, taught), (two, again) = (objective(batch, np.random.default_rng(seed)) for seed in (1, 2))
    assert np.array_equal(taught.data, again.data)
    assert not np.allclose(one.data, two.data)


def test_the_last_layer_waits_and_all_but_vectors_decay():
    objective = small(freeze_last=0.2, norm_last_layer=False)
    options = objective.optimizer_options(10)
    optimizer = AdamW(objective.named_parameters(), 1.0, weight_decay=0.5, **options)
    last = {"student.head.directions", "student.head.lengths"}
    for step in range(4):
        optimizer.steps = step
        for (name, tensor), (rate, decay) in zip(objective.named_parameters(), optimizer.current(), strict=True):
            assert rate == float(step >= 2 or name not in last), name
            assert decay == 0.5 * (tensor.ndim >= 2), name
    names = [name for name, _ in small().named_parameters()]
    assert small().optimizer_options(10)["rates"].keys() == last & set(names) == {"student.head.directions"}


def test_the_numbers_of_a_step():
    objective = small(
        total_steps=100, momentum=0.9, first_temperature=0.04, teacher_temperature=0.07, temperature_warmup=0.3
    )
    drawn = [objective.draw({}, step, None) for step in range(101)]
    momenta = [float(numbers["teacher_momentum"]) for numbers in drawn]
    assert math.isclose(momenta[0], 0.9)
    assert math.isclose(momenta[50], 0.95)
    assert math.isclose(momenta[100], 1.0)
    heat = [float(numbers["teacher_temperature"]) for numbers in drawn]
    assert np.allclose([heat[0], heat[10], heat[30], heat[100]], [0.04, 0.05, 0.07, 0.07])


def test_the_entropy_is_told_and_is_a_part_of_the_loss():
    objective = small().eval()
    batch = drawn(objective)
    outputs = objective(batch)
    q = np.exp(objective.log_targets(outputs[1], batch).data)
    told = objective.sums(outputs, batch)["entropy"] / 4
    assert math.isclose(told, -(q * np.log(q)).sum(axis=-1).mean(), rel_tol=1e-12)
    assert 0 < told < math.log(6)
    assert told < objective.loss(outputs, batch).item()


def test_what_a_batch_holds():
    objective = small()
    batch = drawn(objective, count=3)
    assert batch["global_crops"].shape == (3, 2, 8, 8, 1)
    assert batch["local_crops"].shape == (3, 2, 4, 4, 1)
    assert all(batch[name].shape == () for name in ("teacher_momentum", "teacher_temperature"))
    images = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 1), np.uint8)
    same = [objective.prepare({"images": images}, Augment((8, 8)), None) for _ in range(2)]
    assert all(np.array_equal(same[0][name], same[1][name]) for name in same[0])
    assert "local_crops" not in drawn(small(local_crops=0))


def test_crops_are_of_their_shares_of_the_image():
    """On a ramp the range of values tells the part of the image that a crop shows."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None], (64, 64, 1))
    objective = small(colours=False)
    rng = np.random.default_rng(0)
    batch = objective.prepare({"images": np.stack([ramp] * 50)}, Augment((8, 8), mean=0, std=1 / 255), rng)
    heights = {name: np.ptp(batch[name], axis=(2, 3, 4)) for name in ("global_crops", "local_crops")}
    assert heights["global_crops"].min() > heights["local_crops"].mean()
    assert heights["local_crops"].max() < 64 * math.sqrt(0.4 * 4 / 3)


def test_other_augmentations_are_refused():
    with pytest.raises(ConfigError, match="flip is the only augmentation"):
        small().prepare(
            {"images": np.zeros((2, 8, 8, 1), np.uint8)}, Augment((8, 8), erasing=0.5), np.random.default_rng(0)
        )


def test_the_start():
    objective = small(outputs=4000, hidden=300, bottleneck=100)
    head = objective.student.head
    assert all(abs(layer.weight.data.std() - 0.02) < 2e-3 and not layer.bias.data.any() for layer in head.layers)
    assert abs(head.directions.data).max() <= 0.1
    assert abs(head.directions.data.std() - 0.1 / math.sqrt(3)) < 1e-3
    assert np.all(head.lengths.data == 1)
    pairs = zip(objective.student.named_tensors(), objective.teacher.named_tensors(), strict=True)
    for (_, mine), (_, theirs) in pairs:
        assert np.array_equal(mine.data, theirs.data)
        assert not np.shares_memory(mine.data, theirs.data)


def test_the_encoder_is_the_teachers():
    objective = small()
    assert objective.encoder is objective.teacher.encoder
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 1))
    seen = objective.teacher.features(Tensor(images[:, None])).data[:, 0]
    assert np.allclose(objective.features(images).data, seen, rtol=0, atol=1e-12)
    assert objective.tokens == 2 * 17 + 2 * 5


def test_an_encoder_that_only_follows_another_network_can_learn_once_it_is_loaded(tmp_path):
    objective = {"name": "dino", "outputs": 4, "hidden": 8, "bottleneck": 4, "local_size": (8, 8)}
    model = ViTConfig(image_size=8, patch_size=4, width=8, depth=1, heads=2, mlp_width=8, num_classes=0)
    recipe = Recipe(model=model, objective=objective, steps=2, batch_size=4)
    run_folder.create(tmp_path / "run", recipe)
    images = ArrayDataset(np.zeros((4, 8, 8, 3), np.uint8), [0, 1] * 2, ["ant", "bee"], "photos")
    trainer = Trainer(recipe, images, None, tmp_path / "run")
    list(trainer.run())
    model, *_ = run_folder.load_trained(tmp_path / "run")
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in model.named_tensors()]
    for name, array in trainer.model.state_dict().items():
        assert np.array_equal(array, model.state_dict()[name])
    assert not np.array_equal(model.class_token.data, trainer.objective.learner.class_token.data)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"outputs": 0}, "outputs is 0"),
        ({"local_crops": -1}, "local_crops is -1"),
        ({"teacher_temperature": 0.0}, "teacher_temperature is 0"),
        ({"momentum": 1.5}, "momentum is 1.5"),
        ({"local_scale": (0.5, 0.2)}, "local_scale"),
        ({"local_size": 5}, "not a multiple of the patch"),
    ],
)
def test_a_configuration_that_makes_no_sense(fields, said):
    with pytest.raises(ConfigError, match=said):
        small(**fields)


@pytest.mark.parametrize("fields", [{"classifier": "gap"}, {"position": "sincos2d"}, {"num_classes": 3}])
def test_a_vit_that_does_not_fit(fields):
    shape = ViTConfig(
        **{"image_size": 8, "patch_size": 2, "width": 8, "depth": 1, "heads": 2, "num_classes": 0, **fields}
    )
    with pytest.raises(ConfigError, match="needs a ViT with"):
        DINO(DINOConfig(outputs=6, local_size=4), ViT(shape, 0), 1)


def test_a_model_that_is_no_vit():
    shape = ResNetConfig((1,), image_size=8, width=32, num_classes=0, root="3x3")
    with pytest.raises(ConfigError, match="DINO needs a ViT, but the model is a ResNet"):
        DINO(DINOConfig(outputs=6, local_size=4), ResNet(shape, 0), 1)


def taught(steps, moments, **fields):
    """Train on four kinds of images. What the teacher says of new crops at these steps: the entropy of each answer,
    and how much an answer tells of the image, which is the entropy of the mean answer less that."""
    own = {
        "outputs": 16,
        "hidden": 64,
        "bottleneck": 16,
        "local_scale": (0.2, 0.6),
        "colours": False,
        "freeze_last": 0.0,
    }
    momentum = {"momentum": 0.99, "last_momentum": 0.99}
    objective = small(0, "float32", steps, **own, **momentum, **fields)
    optimizer = AdamW(objective.named_parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    kinds = np.kron(rng.integers(0, 256, (4, 2, 2, 1)), np.ones((1, 4, 4, 1)))

    def pictures(numbers):
        noisy = kinds[numbers] + rng.normal(0, 10, (len(numbers), 8, 8, 1))
        return {"images": np.clip(noisy, 0, 255).astype(np.uint8)}

    def told():
        batch = objective.prepare(pictures(np.arange(64) % 4), Augment((8, 8)), np.random.default_rng(5))
        batch |= objective.draw(batch, 0, rng)
        q = np.exp(objective.log_targets(objective(batch)[1], batch).data).reshape(-1, 16)
        each = entropy(q).mean()
        return each, entropy(q.mean(axis=0)) - each

    found = []
    for step in range(steps):
        batch = objective.prepare(pictures(rng.integers(0, 4, 16)), Augment((8, 8), flip=True), rng)
        batch |= objective.draw(batch, step, rng)
        outputs = objective(batch)
        loss, sums = objective.loss(outputs, batch), objective.sums(outputs, batch)
        optimizer.step(grad(loss, optimizer.parameters))
        objective.after_update({name: x / 16 for name, x in sums.items()}, batch)
        if step + 1 in moments:
            found.append(told())
    return found


def entropy(p):
    return -(p * np.log(p + 1e-12)).sum(axis=-1)


def test_a_short_training_learns_to_tell_images_apart():
    """At first the answers become alike; then they part."""
    (_, early), (_, late) = taught(250, (100, 250))
    assert late > 1.4 * early
    assert late > 0.6


def test_without_sharpening_all_outputs_are_as_likely():
    ((each, told),) = taught(100, (100,), teacher_temperature=0.2, first_temperature=0.2)
    assert each > math.log(16) - 0.1
    assert told < 0.1


def test_the_preset_is_a_recipe():
    recipe = from_mapping(preset("cifar10-dino"), "the preset")
    objective = build(recipe, Given(ViTConfig(**{**vars(recipe.model), "image_size": 32, "num_classes": 0}), [], 10))
    assert isinstance(objective, DINO)
    assert objective.tokens == 2 * 65 + 4 * 17
