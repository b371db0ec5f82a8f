"""Training on a GPU: on the stand-in for CuPy always, on CuPy where there is a GPU. NumPy's `step` is what it is held
to."""

import contextlib
import dataclasses

import numpy as np
import pytest
import standin_cupy

from minivit import functional as F
from minivit import runs
from minivit.backend import get_namespace, kernels
from minivit.backend.precision import precision, products
from minivit.backend.workers import Workers
from minivit.data import ArrayDataset
from minivit.device_step import WARM_UP, DeviceStep, RandomFeed
from minivit.draws import ImageDraws
from minivit.errors import BackendError, NonFiniteError
from minivit.models import ViT, ViTConfig
from minivit.optim import EMA, SGD, AdamW, warmup_cosine
from minivit.recipes import Recipe
from minivit.step import step
from minivit.tensor import Tensor
from minivit.trainer import Trainer, evaluate

CONFIG = ViTConfig(image_size=8, patch_size=4, width=32, depth=2, heads=2, num_classes=3, mlp_width=40)
NOISY = dataclasses.replace(CONFIG, dropout=0.1, attention_dropout=0.1, drop_path=0.3)
STEPS, BATCH = 6, 5
IMAGES = np.random.default_rng(0).standard_normal((STEPS, BATCH, 8, 8, 3)).astype("float32")
LABELS = np.random.default_rng(1).integers(0, 3, (STEPS, BATCH))


@pytest.fixture(params=["standin", "cupy"])
def cupy(request):
    """The stand-in, or CuPy itself."""
    if request.param == "standin":
        with standin_cupy.installed() as module:
            get_namespace("cupy")
            yield module
    else:
        try:
            yield get_namespace("cupy")
        except BackendError:
            pytest.skip("no GPU that CuPy can use: the CuPy tests did not run")


def parts(config, backend, optimizer="adamw", decay=0.99):
    """A model with random weights, its optimiser and its averages."""
    model = ViT(config).train()
    rng = np.random.default_rng(2)
    for p in model.parameters():
        p.data += 0.1 * rng.standard_normal(p.shape).astype("float32")
    model.to(backend)
    lr = warmup_cosine({"adamw": 1e-2, "sgd": 1e-1}[optimizer], 2 * STEPS, 2)
    if optimizer == "sgd":
        chosen = SGD(model.named_parameters(), lr, weight_decay=0.05)
    else:  # with a larger eps, since the keys' biases have no gradient but rounding errors, which Adam would blow up
        chosen = AdamW(model.named_parameters(), lr, eps=1e-4, weight_decay=0.05)
    return model, chosen, EMA(model.named_parameters(), decay)


def on_numpy(config, optimizer="adamw", steps=STEPS, in_precision="float32"):
    """Results of every step, and the parts after the last one."""
    model, optimizer, ema = parts(config, "numpy", optimizer)
    results = []
    with precision(in_precision):
        for i in range(steps):
            results.append(step(model, optimizer, IMAGES[i], LABELS[i], clip_norm=1.0, seed=(i, 7)))
            ema.update()
    return results, model, optimizer, ema


def on_device(cupy, config, optimizer="adamw", steps=STEPS, in_precision="float32", **options):
    model, optimizer, ema = parts(config, "cupy", optimizer)
    device_step = DeviceStep(model, optimizer, F.cross_entropy, 1.0, ema, **options)
    results = []
    with precision(in_precision), device_step.active():
        for i in range(steps):
            device_step(cupy.asarray(IMAGES[i]), cupy.asarray(LABELS[i]), seed=(i, 7))
            results.append(device_step.read()[0])
    return results, model, optimizer, ema, device_step


def assert_same_results(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=tolerance)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=10 * tolerance)
        assert one.accuracy == other.accuracy


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("config", [CONFIG, NOISY], ids=["plain", "noisy"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_it_does_what_step_does(cupy, config, optimizer, graph):
    expected, model, optimizer_there, ema_there = on_numpy(config, optimizer)
    found, *here, device_step = on_device(cupy, config, optimizer, graph=graph)
    assert (device_step._graph is not None) == graph
    assert_same_results(found, expected, 1e-5)
    for one, other in zip(here, (model, optimizer_there, ema_there), strict=True):
        mine, theirs = one.state_dict(), other.state_dict()
        assert mine.keys() == theirs.keys()
        for name, array in mine.items():
            array = array.get() if hasattr(array, "get") else array
            np.testing.assert_allclose(array, theirs[name], rtol=1e-3, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("graph", [True, False])
def test_mixed_precision_is_what_numpy_emulates(cupy, graph):
    narrow, *_ = on_device(cupy, CONFIG, in_precision="bf16", graph=graph)
    assert_same_results(narrow, on_numpy(CONFIG, in_precision="bf16")[0], 1e-2)
    full, *_ = on_numpy(CONFIG)
    assert any(abs(a.loss - b.loss) > 1e-5 for a, b in zip(narrow, full, strict=True))


def test_pieces_of_a_batch_give_the_same_as_step_gives_for_them(cupy):
    model, optimizer, _ = parts(NOISY, "numpy")
    expected = [
        step(model, optimizer, IMAGES[i], LABELS[i], clip_norm=1.0, accumulate=2, seed=(i, 7)) for i in range(STEPS)
    ]
    found, *_ = on_device(cupy, NOISY, accumulate=2)
    assert_same_results(found, expected, 1e-5)


def test_a_replayed_step_runs_nothing_on_the_host_and_waits_for_nothing():
    with standin_cupy.installed() as cupy:
        get_namespace("cupy")
        _, model, *_, device_step = on_device(cupy, CONFIG)
        model.forward = None  # would raise if it were called
        images, labels = cupy.asarray(IMAGES[0]), cupy.asarray(LABELS[0])
        with device_step.active():
            with standin_cupy.forbid_synchronisation():
                device_step(images, labels)
            assert device_step.read()[1] == 1


def test_what_cannot_be_recorded_runs_without_a_graph(cupy):
    model, optimizer, _ = parts(CONFIG, "cupy")

    def curious_loss(logits, labels):
        loss = F.cross_entropy(logits, labels)
        assert loss.item() > 0
        return loss

    device_step = DeviceStep(model, optimizer, curious_loss)
    with device_step.active():
        for i in range(STEPS):
            catching = contextlib.nullcontext()
            if i == WARM_UP:
                catching = pytest.warns(UserWarning, match="could not be recorded as a CUDA graph and runs without")
            with catching:
                device_step(cupy.asarray(IMAGES[i]), cupy.asarray(LABELS[i]))
    assert device_step.read()[1] == STEPS
    assert device_step._graph is None


def test_a_batch_of_another_shape_is_refused(cupy):
    *_, device_step = on_device(cupy, CONFIG, steps=1)
    with device_step.active(), pytest.raises(ValueError, match=r"float32 \(2, 8, 8, 3\) after a batch of float32"):
        device_step(cupy.asarray(IMAGES[0, :2]), cupy.asarray(LABELS[0, :2]))


def test_what_is_not_finite_is_named_and_changes_nothing(cupy):
    _, model, *_, device_step = on_device(cupy, CONFIG, steps=3)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    spoiled = IMAGES[3].copy()
    spoiled[2, 1, 1, 0] = np.inf
    with device_step.active():
        device_step(cupy.asarray(spoiled), cupy.asarray(LABELS[3]))
        with pytest.raises(NonFiniteError, match="the input images"):
            device_step.read()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_the_feed_gives_the_numbers_of_the_draws(cupy):
    feed = RandomFeed(cupy)
    for seed in (3, 4):
        feed.refill(ImageDraws((seed,), 1, 2, 5))
        feed.rewind()
        draws = ImageDraws((seed,), 1, 2, 5)
        for shape in ((2, 3), (4,)):
            np.testing.assert_array_equal(feed.random(shape).get(), draws.random(shape))
    feed.rewind()
    with pytest.raises(ValueError, match=r"asked for \(5,\) where the first step asked for \(2, 3\)"):
        feed.random((5,))


# the Trainer


def dataset(size=24):
    rng = np.random.default_rng(0)
    return ArrayDataset(rng.integers(0, 256, (size, 8, 8, 3), np.uint8), np.arange(size) % 3, list("abc"), "random")


RECIPE = Recipe(
    model=NOISY, batch_size=6, steps=8, lr=1e-2, ema=0.9, mixup=0.2, flip=True, crop_padding=1, randaugment=(1, 9.0),
    eval_every=4, workers=1, accumulate=1,
)  # fmt: skip


def train(recipe, folder=None, stop_after=None):
    """The metrics of a run, and the Trainer."""
    trainer = Trainer(recipe, dataset(), dataset(9), folder)
    if folder is not None and folder.exists():
        trainer.restore()
    elif folder is not None:
        runs.create(folder, recipe)
    for progress in trainer.run():
        trainer.stop_requested = progress.step == stop_after
    return trainer.metrics, trainer


@pytest.mark.parametrize(
    "choices",
    [{}, {"kernels": "reference"}, {"graph": False}, {"recompute": True}, {"loss": "sigmoid", "mixup": 0.0}],
    ids=str,
)
def test_a_run_has_the_same_metrics_as_on_numpy(cupy, choices):
    expected, _ = train(dataclasses.replace(RECIPE, **choices))
    found, trainer = train(dataclasses.replace(RECIPE, backend="cupy", **choices))
    recorded = trainer.device_step is not None and trainer.device_step._graph is not None
    assert recorded == ("kernels" not in choices and choices.get("graph", True))
    for one, other in zip(found, expected, strict=True):
        for name in ("step", "train_loss", "test_loss", "test_accuracy", "lr"):
            assert one[name] == pytest.approx(other[name], rel=1e-3), name


def test_a_resumed_run_ends_as_an_uninterrupted_one(cupy, tmp_path):
    recipe = dataclasses.replace(RECIPE, backend="cupy")
    whole, one = train(recipe, tmp_path / "whole")
    train(recipe, tmp_path / "cut", stop_after=5)
    resumed, other = train(recipe, tmp_path / "cut")
    assert [line["train_loss"] for line in resumed] == pytest.approx([line["train_loss"] for line in whole], rel=1e-6)
    for name, array in one.model.state_dict().items():
        np.testing.assert_allclose(array, other.model.state_dict()[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_checkpoint_of_a_gpu_can_be_evaluated_without_one(cupy, tmp_path):
    recipe = dataclasses.replace(RECIPE, backend="cupy")
    metrics, _ = train(recipe, tmp_path / "run")
    model, read, _ = runs.load_trained(tmp_path / "run")
    with Workers(1) as workers:
        found = evaluate(model, dataset(9), dataclasses.replace(read, backend="numpy"), workers)
    assert found["loss"] == pytest.approx(metrics[-1]["test_loss"], rel=1e-4)


def test_float64_runs_on_the_ops_themselves(cupy):
    recipe = dataclasses.replace(RECIPE, precision="float64", backend="cupy", randaugment=None)
    found, trainer = train(recipe)
    assert trainer.device_step is None
    expected, _ = train(dataclasses.replace(recipe, backend="numpy"))
    assert found[-1]["train_loss"] == pytest.approx(expected[-1]["train_loss"], rel=1e-9)


def test_nan_and_memory_are_looked_into_in_the_precision_of_the_run(monkeypatch):
    with standin_cupy.installed():
        recipe = dataclasses.replace(RECIPE, backend="cupy", precision="bf16", batch_size=24)
        trainer, seen = Trainer(recipe, dataset(), None, None), []
        step_on_gpu = trainer.device_step
        monkeypatch.setattr(step_on_gpu, "read", lambda: seen.append(products()) or (None, 0))
        trainer._read()
        monkeypatch.setattr(step_on_gpu, "out_of_memory", lambda batch: seen.append(products()) or f"{batch}")
        monkeypatch.setattr(step_on_gpu, "_update", _no_memory)
        with pytest.raises(BackendError, match="24"):
            for _ in trainer.run():
                pass
        assert seen == ["bf16", "bf16"]


def _no_memory():
    raise MemoryError


def test_too_little_memory_ends_in_one_line_that_says_what_fits():
    with standin_cupy.installed() as cupy:
        recipe = dataclasses.replace(RECIPE, backend="cupy", batch_size=24, graph=False)
        trainer = Trainer(recipe, dataset(), None, None)
        pool = cupy.get_default_memory_pool()
        pool.set_limit(size=pool.used_bytes() + 30 * trainer.device_step.flat.data.nbytes)
        with pytest.raises(BackendError, match=r"batch of 24; .* about \d+ images would fit .* --accumulate") as caught:
            for _ in trainer.run():
                pass
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("limit", "batch"), [(1, 24), (10, 1)])
def test_where_nothing_fits_the_line_says_that(limit, batch):
    with standin_cupy.installed() as cupy:
        recipe = dataclasses.replace(RECIPE, backend="cupy", batch_size=batch, graph=False, mixup=0.0)
        trainer = Trainer(recipe, dataset(), None, None)
        cupy.get_default_memory_pool().set_limit(size=cupy.get_default_memory_pool().used_bytes() + limit * 2048)
        with pytest.raises((BackendError, MemoryError), match=r"smaller model|Out of memory"):
            for _ in trainer.run():
                pass


def test_reference_and_fused_kernels_learn_the_same(cupy):
    model, *_ = parts(CONFIG, "cupy")
    images = Tensor(cupy.asarray(IMAGES[0]))
    fused = model(images).data.get()
    with kernels("reference"):
        np.testing.assert_allclose(model(images).data.get(), fused, rtol=1e-4, atol=1e-5)
