"""The loop: one step against the same by hand, evaluation against a direct computation, resumption bit for bit."""

import copy
import dataclasses
import json
import math

import numpy as np
import pytest
from small_vit import CONFIG, RANDOM, perturbed

from minivit import functional as F
from minivit.backend.kernels import register, registered
from minivit.backend.workers import Workers
from minivit.data import ArrayDataset, Loader, load
from minivit.errors import CheckpointError, DataError, NonFiniteError
from minivit.models import ViT, ViTConfig
from minivit.models.archive import read_npz, write_npz
from minivit.optim import SGD, AdamW
from minivit.runs import folder as run_folder
from minivit.runs.building import make_optimizer
from minivit.runs.evaluation import evaluate
from minivit.runs.numerics import worker_count
from minivit.runs.recipes import Recipe
from minivit.runs.trainer import Trainer
from minivit.update.objective import Classification
from minivit.update.supervised import step

# evaluate


def digits(count, split="train"):
    return load("digits", split=split).limit(count)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("workers", "batch_size"), [(1, 256), (1, 7), (2, 64), (3, 100), (4, 1)])
def test_evaluate_is_the_mean_over_all_images(workers, batch_size, loss):
    model, data = perturbed(RANDOM), digits(53)
    recipe = Recipe(model=RANDOM, loss=loss, mean=0.3, std=0.4, label_smoothing=0.3 if loss == "softmax" else 0)
    x = (data.images / 255 - 0.3) / 0.4
    z = np.concatenate([model.eval()(x[i : i + 1]).data for i in range(53)])
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    t = np.eye(10)[data.labels]
    expected = -np.log((p * t).sum(axis=1)).mean()
    if loss == "sigmoid":
        expected = -(np.log(1 / (1 + np.exp(-z))) * t + np.log(1 / (1 + np.exp(z))) * (1 - t)).sum(axis=1).mean()
    model.train()
    with Workers(workers) as pool:
        found = evaluate(model, data, recipe, pool, batch_size)
    assert found["loss"] == pytest.approx(expected, rel=1e-6)  # images are normalised in float32
    assert found["accuracy"] == (z.argmax(axis=1) == data.labels).mean()
    assert found["images"] == 53
    assert all(block.dropout.training for block in model.blocks)


def test_evaluate_records_nothing_and_changes_nothing():
    model = perturbed()
    before = [p.data.tobytes() for p in model.parameters()]
    evaluate(model, digits(20), Recipe(model=CONFIG), Workers(1))
    assert [p.data.tobytes() for p in model.parameters()] == before
    assert all(p.grad is None for p in model.parameters())


# Trainer

EVERYTHING = Recipe(
    model=RANDOM,
    batch_size=8,
    steps=9,
    eval_every=4,
    checkpoint_every=3,
    ema=0.9,
    mixup=0.4,
    cutmix=0.4,
    crop_padding=1,
    flip=True,
    randaugment=(1, 5),
    erasing=0.3,
    workers=2,
    accumulate=2,
    label_smoothing=0.1,
    lr=3e-3,
    seed=3,
)
VARIANTS = {
    "everything": EVERYTHING,
    "sgd, sigmoid, float64": dataclasses.replace(
        EVERYTHING,
        optimizer="sgd",
        loss="sigmoid",
        label_smoothing=0,
        precision="float64",
        schedule="linear",
        ema=None,
        workers=1,
        resized_crop=(0.4, 1.0),
    ),
    "plain": Recipe(model=CONFIG, batch_size=8, steps=9, schedule="constant", workers=1),
}


def start(recipe, folder):
    folder.mkdir(parents=True)
    return Trainer(recipe, digits(40), digits(15, "test"), folder)


def advance(trainer, stop=None):
    """Run to the end, or until after step `stop`; the training losses."""
    losses = []
    for progress in trainer.run():
        losses.append(progress.loss)
        trainer.stop_requested = progress.step == stop
    return losses


def state(trainer):
    arrays = {
        f"{part}/{name}": np.asarray(a).tobytes()
        for part, values in trainer.state().items()
        for name, a in values.items()
    }
    records = [{k: v for k, v in line.items() if k != "images_per_second"} for line in trainer.metrics]
    return {"step": trainer.step, "sums": trainer.tally.sums, "metrics": records, **arrays}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """uninterrupted(name): the final state and the losses of a variant that nobody stopped."""
    known = {}

    def run(name):
        if name not in known:
            trainer = start(VARIANTS[name], tmp_path_factory.mktemp("whole") / "run")
            losses = advance(trainer)
            known[name] = state(trainer), losses
        return known[name]

    return run


@pytest.mark.parametrize(
    ("name", "stops"),
    [("everything", stops) for stops in [(1,), (3,), (4, 5), (8,), tuple(range(1, 9))]]
    + [(name, (4, 5)) for name in VARIANTS if name != "everything"],
    ids=str,
)
def test_a_stopped_run_ends_like_one_that_was_not(name, stops, uninterrupted, tmp_path):
    expected, expected_losses = uninterrupted(name)
    trainer = start(VARIANTS[name], tmp_path / "run")
    losses = advance(trainer, stops[0])
    for stop in (*stops[1:], None):
        trainer = Trainer(VARIANTS[name], digits(40), digits(15, "test"), tmp_path / "run")
        trainer.restore()
        losses += advance(trainer, stop)
    assert losses == expected_losses
    found = state(trainer)
    assert [key for key in expected if found[key] != expected[key]] == []


def test_the_variants_are_as_random_as_they_should_be(uninterrupted):
    """Otherwise the tests above would show little: the weights of every variant have moved, and differ."""
    weights = {uninterrupted(name)[0]["objective/model.head.weight"] for name in VARIANTS}
    assert len(weights) == len(VARIANTS)
    for feature, off in (
        ("mixup", 0.0),
        ("ema", None),
        ("crop_padding", 0),
        ("flip", False),
        ("erasing", 0.0),
        ("seed", 1),
    ):
        recipe = dataclasses.replace(EVERYTHING, **{feature: off, "steps": 3})
        trainer = Trainer(recipe, digits(40), None, None)
        advance(trainer)
        reference = Trainer(dataclasses.replace(EVERYTHING, steps=3), digits(40), None, None)
        advance(reference)
        same = np.array_equal(trainer.model.head.weight.data, reference.model.head.weight.data)
        assert same == (feature == "ema"), feature


def test_the_loop_in_its_own_words(tmp_path):
    """Nine steps at batch 8 of 40 images, evaluation every 4, against the calls written out."""
    recipe = dataclasses.replace(EVERYTHING, warmup=0.3)
    trainer = start(recipe, tmp_path / "run")
    fresh = Trainer(recipe, digits(40), digits(15, "test"), None)
    mixing = Classification(fresh.model, mixup=0.4, cutmix=0.4)
    loader = Loader(digits(40), 8, recipe.augment, mixing, total_steps=9, seed=3)
    losses, rates, right = [], [], []
    with Workers(2) as workers:
        for s in range(9):
            rates.append(fresh.optimizer.current_lr())
            images, labels = loader.batch(s).values()
            smoothed = lambda z, t: F.cross_entropy(z, t, label_smoothing=0.1)
            result = step(fresh.model, fresh.optimizer, images, labels, smoothed, 1.0, workers, 2, seed=(3, s, 2))
            fresh.ema.update()
            losses.append(result.loss)
            right.append(result.accuracy)
        with fresh.ema.swapped():
            final = evaluate(fresh.model, fresh.test_data, recipe, workers)
    assert advance(trainer) == losses
    for mine, theirs in zip(trainer.model.parameters(), fresh.model.parameters(), strict=True):
        assert mine.data.tobytes() == theirs.data.tobytes()
    assert [line["step"] for line in trainer.metrics] == [4, 8, 9]
    assert [line["epoch"] for line in trainer.metrics] == [0.8, 1.6, 1.8]
    assert [line["lr"] for line in trainer.metrics] == [rates[3], rates[7], rates[8]]
    means = [sum(losses[:4]) / 4, sum(losses[4:8]) / 4, losses[8]]
    assert [line["train_loss"] for line in trainer.metrics] == pytest.approx(means, rel=1e-15)
    assert trainer.metrics[0]["train_accuracy"] == pytest.approx(sum(right[:4]) / 4, rel=1e-15)
    assert trainer.metrics[-1]["test_loss"] == final["loss"]
    assert trainer.metrics[-1]["test_accuracy"] == final["accuracy"]


def test_epochs_become_steps():
    def steps(**choices):
        trainer = Trainer(Recipe(model=CONFIG, batch_size=8, **choices), digits(43), None, None)
        return trainer.steps_per_epoch, trainer.total_steps

    assert steps(epochs=3) == (5, 15)
    assert steps(epochs=0.5) == (5, 2)
    assert steps(epochs=0.01) == (5, 1)
    assert steps(epochs=3, steps=7) == (5, 7)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 0.5, 0.5]),
        ("cosine", [0, 0.5, 0.25 * (1 + math.cos(math.pi * 7 / 8))]),
        ("linear", [0, 0.5, 0.5 / 8]),
    ],
)
def test_schedules_of_a_recipe(schedule, expected):
    recipe = Recipe(model=CONFIG, lr=0.5, schedule=schedule, warmup=0.2)
    optimizer = make_optimizer(recipe, Classification(ViT(CONFIG, seed=None)), 10)
    found = []
    for optimizer.steps in (0, 2, 9):
        found.append(optimizer.current_lr())
    assert found == pytest.approx(expected, abs=1e-15)


def test_optimisers_of_a_recipe():
    model = Classification(ViT(CONFIG, seed=None))
    adamw = make_optimizer(Recipe(model=CONFIG, beta2=0.95, weight_decay=0.3), model, 10)
    assert (type(adamw), adamw.betas, {decay for _, decay in adamw.current()}) == (AdamW, (0.9, 0.95), {0.0, 0.3})
    sgd = make_optimizer(Recipe(model=CONFIG, optimizer="sgd", momentum=0.7, weight_decay=0.3), model, 10)
    assert (type(sgd), sgd.momentum, {decay for _, decay in sgd.current()}) == (SGD, 0.7, {0.0, 0.3})
    assert adamw.names == [name for name, _ in model.named_parameters()]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = Trainer(dataclasses.replace(EVERYTHING, steps=2), digits(40), None, None)
    advance(trainer)
    assert list(tmp_path.iterdir()) == []
    assert trainer.metrics[0]["test_loss"] is None
    assert trainer.metrics[0]["test_accuracy"] is None


def test_the_averages_are_evaluated_and_the_weights_come_back(tmp_path, monkeypatch):
    trainer = Trainer(dataclasses.replace(EVERYTHING, ema=0.5), digits(40), digits(15, "test"), None)
    own = [p.data for p in trainer.model.parameters()]
    seen = []

    def note(model, *args, **options):
        seen.append(all(p.data is a for p, a in zip(model.parameters(), trainer.ema.averages, strict=True)))
        return {"loss": 1.0, "accuracy": 0.5, "images": 15}

    monkeypatch.setattr("minivit.runs.trainer.evaluate", note)
    advance(trainer)
    assert seen == [True] * 3
    assert all(p.data is a for p, a in zip(trainer.model.parameters(), own, strict=True))


DIGITS = {"patch_size": 2, "image_size": 8, "width": 64, "heads": 4}


def test_workers_of_a_recipe(monkeypatch):
    monkeypatch.setattr("minivit.runs.numerics.available_cores", lambda: 12)
    assert worker_count(Recipe()) == 8
    assert worker_count(Recipe(workers=3)) == 3
    assert worker_count(Recipe(backend="cupy")) == 1  # one thread keeps a GPU busy
    assert worker_count(Recipe(backend="cupy", workers=2)) == 2


@pytest.mark.parametrize(
    ("cores", "images", "fields", "expected"),
    [
        (1, 64, DIGITS, 1),
        (2, 64, DIGITS, 2),
        (4, 64, DIGITS, 4),
        (64, 64, DIGITS, 4),  # 16 images each; with fewer, threads wait for each other
        (64, 256, DIGITS, 8),
        (64, 1, DIGITS, 1),
        (64, 10_000, DIGITS, 8),
        (16, 8, {"patch_size": 16, "image_size": 224, "width": 768}, 8),
        (16, 3, {"patch_size": 16, "image_size": 224, "width": 768}, 3),  # no worker without an image
    ],
)
def test_workers_suit_the_batch_and_the_machine(monkeypatch, cores, images, fields, expected):
    monkeypatch.setattr("minivit.runs.numerics.available_cores", lambda: cores)
    recipe = Recipe(model=ViTConfig(**fields), batch_size=images)
    assert worker_count(recipe) == expected
    assert worker_count(dataclasses.replace(recipe, batch_size=1), images) == expected


def test_one_worker_where_the_matrix_library_takes_all_cores_itself(monkeypatch):
    monkeypatch.setattr("minivit.runs.numerics.available_cores", lambda: 4)
    monkeypatch.setattr("minivit.backend.blas.limitable", lambda: False)
    assert worker_count(Recipe()) == 1
    assert worker_count(Recipe(workers=3)) == 3


# restore


@pytest.fixture
def saved(tmp_path):
    """A trainer that has saved after step 3."""
    trainer = start(EVERYTHING, tmp_path / "run")
    advance(trainer, 3)
    return trainer


def test_a_checkpoint_that_does_not_fit_changes_nothing(saved):
    path = saved.folder / "checkpoint.npz"
    arrays = read_npz(path)
    del arrays["ema/steps"], arrays["optimizer/v/model.head.bias"]
    arrays["objective/model.head.weight"] = np.zeros((8, 9), np.float32)
    arrays["objective/surplus"] = np.zeros(1)
    write_npz(path, arrays)
    fresh = Trainer(EVERYTHING, digits(40), None, saved.folder)
    before = copy.deepcopy(state(fresh))
    with pytest.raises(CheckpointError) as caught:
        fresh.restore()
    text = str(caught.value)
    assert text.startswith(f"{path} does not fit the model: missing: optimizer/v/model.head.bias, ema/steps; ")
    assert text.endswith(
        "unexpected: objective/surplus; wrong shape: objective/model.head.weight (8, 9), expected (8, 10)"
    )
    assert state(fresh) == before


def test_a_checkpoint_of_another_recipe_is_refused(saved):
    for change in ({"ema": None}, {"optimizer": "sgd"}, {"model": dataclasses.replace(RANDOM, depth=3)}):
        other = Trainer(dataclasses.replace(EVERYTHING, **change), digits(40), None, saved.folder)
        with pytest.raises(CheckpointError, match=r"does not fit the model: (missing|unexpected): \S+"):
            other.restore()


def test_data_that_changed_are_refused(saved):
    with pytest.raises(DataError, match="digits has changed: 39 images of 10 classes, 40 of 10 when"):
        Trainer(EVERYTHING, digits(39), None, saved.folder).restore()
    data = digits(40)
    swapped = ArrayDataset(data.images, data.labels, [*data.classes[1:], "0"], "digits")
    with pytest.raises(DataError, match="digits has changed"):
        Trainer(EVERYTHING, swapped, None, saved.folder).restore()


def test_data_that_the_model_does_not_fit_are_refused():
    data = digits(40)
    fewer = ArrayDataset(data.images, np.zeros(40), ["zero", "one"], "binary")
    with pytest.raises(DataError, match="binary has 2 classes and 1 channels, the model 10 classes and 1 channels"):
        Trainer(EVERYTHING, fewer, None, None)
    colour = ArrayDataset(np.repeat(data.images, 3, axis=-1), data.labels, data.classes, "colour")
    with pytest.raises(DataError, match="colour has 10 classes and 3 channels, the model 10 classes and 1 channels"):
        Trainer(EVERYTHING, colour, None, None)
    with pytest.raises(DataError, match="a batch of 8 is larger than the data set"):
        Trainer(EVERYTHING, digits(7), None, None)


def test_nothing_that_is_not_finite_is_saved(saved):
    path = saved.folder / "checkpoint.npz"
    before = path.read_bytes()
    for array in (saved.model.head.bias.data, saved.optimizer.state["v"][2], saved.ema.averages[0]):
        kept = array.flat[0]
        array.flat[0] = np.inf
        with pytest.raises(
            NonFiniteError, match=r"step 3: NaN or infinity, first in (objective|optimizer|ema)/\S+ after the"
        ):
            saved.save()
        array.flat[0] = kept
    assert path.read_bytes() == before
    saved.save()
    assert run_folder.read_checkpoint(path)[1]["step"] == 3


@pytest.fixture
def forbidden_kernels():
    """Every kernel of the table fails."""

    def forbidden(*args, **kwargs):
        raise AssertionError("a kernel ran")

    table = registered()
    for key in table:
        register(*key)(forbidden)
    yield
    for key, kernel in table.items():
        register(*key)(kernel)


def test_reference_kernels_run_no_kernel_in_steps_and_evaluations(forbidden_kernels):
    data = load("digits").limit(20)
    recipe = Recipe(model=CONFIG, batch_size=10, steps=2, eval_every=1, kernels="reference")
    assert len(list(Trainer(recipe, data, data, None).run())) == 2
    with pytest.raises(AssertionError, match="a kernel ran"):
        list(Trainer(dataclasses.replace(recipe, kernels="fused"), data, data, None).run())


# one run and the world around it


def failing_save(monkeypatch, steps):
    """Saves of checkpoint.npz after these steps fail, as on a full disk."""
    real = run_folder.write_checkpoint

    def write(folder, states, meta, *name):
        if meta["step"] in steps and not name:
            raise CheckpointError("cannot write: the disk is full")
        real(folder, states, meta, *name)

    monkeypatch.setattr(run_folder, "write_checkpoint", write)


def saved_step(folder):
    return run_folder.read_checkpoint(folder / "checkpoint.npz")[1]["step"]


SHORT = dataclasses.replace(EVERYTHING, steps=6, eval_every=2, checkpoint_every=2)


def test_a_save_that_fails_is_a_warning_unless_it_is_the_last(tmp_path, monkeypatch):
    failing_save(monkeypatch, {2, 4})
    trainer = start(SHORT, tmp_path / "a")
    with pytest.warns(UserWarning, match="the disk is full; training goes on") as found:
        list(trainer.run())
    assert len(found) == 2
    assert saved_step(tmp_path / "a") == 6
    monkeypatch.undo()
    failing_save(monkeypatch, {6})
    trainer = start(SHORT, tmp_path / "b")
    trainer.warn = None  # not called
    with pytest.raises(
        CheckpointError, match=r"is full; what was learned up to step 6 is lost, the last save is older"
    ):
        list(trainer.run())
    assert saved_step(tmp_path / "b") == 4
    again = Trainer(SHORT, digits(40), digits(15, "test"), tmp_path / "b")  # nobody has the lock
    again.restore()
    monkeypatch.undo()
    list(again.run())
    assert saved_step(tmp_path / "b") == 6


def test_a_stop_whose_save_fails_is_an_error(tmp_path, monkeypatch):
    failing_save(monkeypatch, {3})
    trainer = start(SHORT, tmp_path / "a")

    def stop_at_3():
        for progress in trainer.run():
            if progress.step == 3:
                trainer.stop()

    with pytest.raises(CheckpointError, match="up to step 3 is lost"):
        stop_at_3()
    assert saved_step(tmp_path / "a") == 2


def test_metrics_that_could_not_be_written_are_written_later(tmp_path, monkeypatch):
    real, calls = run_folder.write_metrics, []

    def write(folder, lines, append=False):
        calls.append(append)
        if len(calls) == 1:
            (folder / "metrics.jsonl").write_text('{"half": ', encoding="utf-8")
            raise CheckpointError("cannot write: the disk is full")
        real(folder, lines, append)

    monkeypatch.setattr(run_folder, "write_metrics", write)
    trainer = start(SHORT, tmp_path / "a")
    with pytest.warns(UserWarning, match="the disk is full; training goes on"):
        list(trainer.run())
    lines = (tmp_path / "a" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6]


def test_the_best_weights_are_kept_where_metrics_cannot_be(tmp_path, monkeypatch):
    def write(folder, lines, append=False):
        raise CheckpointError("cannot write: another program holds the file")

    monkeypatch.setattr(run_folder, "write_metrics", write)
    trainer, said = start(dataclasses.replace(SHORT, steps=2), tmp_path / "a"), []
    trainer.warn = said.append
    with pytest.raises(CheckpointError, match="holds the file"):
        list(trainer.run())
    assert said == ["cannot write: another program holds the file; training goes on"]
    assert run_folder.read_checkpoint(tmp_path / "a" / run_folder.BEST)[1]["step"] == 2


def test_an_evaluation_that_fails_leaves_the_model_training(monkeypatch):
    data = digits(20)

    def fetch(*args):
        raise DataError("cannot be read")

    monkeypatch.setattr(data, "fetch", fetch)
    model = perturbed(RANDOM).train()
    with Workers(1) as workers, pytest.raises(DataError, match="cannot be read"):
        evaluate(model, data, Recipe(model=RANDOM), workers)
    assert model.training
    assert model.blocks[0].training


def test_a_run_has_one_writer_at_a_time(tmp_path):
    first = start(SHORT, tmp_path / "a")
    steps = first.run()
    next(steps)
    second = Trainer(SHORT, digits(40), digits(15, "test"), tmp_path / "a")
    for attempt in (second.restore, lambda: list(second.run())):
        with pytest.raises(CheckpointError, match=r"is in use: process \d+ on .* is training it"):
            attempt()
    steps.close()
    second.restore()
    list(second.run())
    third = Trainer(SHORT, digits(40), None, tmp_path / "a")
    with pytest.raises(CheckpointError, match="holds weights that this run has not loaded"):
        list(third.run())
    assert not (tmp_path / "a" / "lock").exists()


def test_a_stop_ends_waiting_for_images(tmp_path, monkeypatch):
    """Where they come from hangs, as a network drive may: the run is saved as it is."""
    trainer = start(SHORT, tmp_path / "a")
    real = Loader.batch

    def hang(self, step):
        if step == 3:
            trainer.stop()  # a signal
            raise AssertionError("not interrupted")
        return real(self, step)

    monkeypatch.setattr(Loader, "__iter__", lambda self: (hang(self, step) for step in range(6)))
    assert [progress.step for progress in trainer.run()] == [1, 2, 3]
    assert saved_step(tmp_path / "a") == 3
