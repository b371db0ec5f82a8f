"""Training on a GPU: on the stand-in for CuPy always, on CuPy where there is a GPU. NumPy's `step` is what it is held
to."""

import contextlib
import dataclasses
import gc
import sys
import types

import numpy as np
import pytest
import standin_cupy
from devices import assert_equal

from minivit import functional as F
from minivit.backend import get_namespace, kernels
from minivit.backend.cupy_kernels import cublaslt
from minivit.backend.cupy_kernels.flat import FlatParameters
from minivit.backend.cupy_kernels.launch import Launcher, kernel
from minivit.backend.precision import precision, products
from minivit.backend.workers import Workers
from minivit.data import ArrayDataset
from minivit.errors import BackendError, NonFiniteError
from minivit.models import ViT, ViTConfig
from minivit.models.positions import patch_positions
from minivit.optim import EMA, SGD, AdamW, warmup_cosine
from minivit.runs import folder as run_folder
from minivit.runs.evaluation import evaluate
from minivit.runs.numerics import evaluation_batch
from minivit.runs.recipes import Recipe
from minivit.runs.trainer import Trainer
from minivit.tensor import Tensor
from minivit.update.device import WARM_UP, DeviceStep
from minivit.update.draws import ImageDraws, RandomFeed
from minivit.update.host import HostStep
from minivit.update.objective import Classification
from minivit.update.supervised import WithLoss, step

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
        uneven = {"weight_decay": lambda step: 0.02 * step, "rates": lambda name: 0.5 if "blocks.0" in name else 1.0}
        chosen = AdamW(model.named_parameters(), lr, eps=1e-4, **uneven)
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


def batch(cupy, i):
    return {"images": cupy.asarray(IMAGES[i]), "labels": cupy.asarray(LABELS[i])}


def on_device(cupy, config, optimizer="adamw", steps=STEPS, in_precision="float32", **options):
    model, optimizer, ema = parts(config, "cupy", optimizer)
    device_step = DeviceStep(Classification(model), optimizer, 1.0, ema, **options)
    results = []
    with precision(in_precision), device_step.active():
        for i in range(steps):
            device_step.update(batch(cupy, i), seed=(i, 7))
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
    assert device_step.recorded == graph
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
        given = batch(cupy, 0)
        with device_step.active():
            with standin_cupy.forbid_synchronisation():
                device_step.update(given)
            assert device_step.read()[1] == 1


def test_what_cannot_be_recorded_runs_without_a_graph(cupy):
    model, optimizer, _ = parts(CONFIG, "cupy")

    def curious_loss(logits, labels):
        loss = F.cross_entropy(logits, labels)
        assert loss.item() > 0
        return loss

    device_step = DeviceStep(WithLoss(model, curious_loss), optimizer)
    with device_step.active():
        for i in range(STEPS):
            catching = contextlib.nullcontext()
            if i == WARM_UP:
                catching = pytest.warns(UserWarning, match="could not be recorded as a CUDA graph and runs without")
            with catching:
                device_step.update(batch(cupy, i))
    assert device_step.read()[1] == STEPS
    assert not device_step.recorded


def test_a_batch_of_another_shape_is_refused(cupy):
    *_, device_step = on_device(cupy, CONFIG, steps=1)
    with (
        device_step.active(),
        pytest.raises(
            ValueError, match=r"images float32 \(2, 8, 8, 3\), labels int64 \(2,\) after a batch of images float32 \(5"
        ),
    ):
        device_step.update({name: x[:2] for name, x in batch(cupy, 0).items()})


def test_what_is_not_finite_is_named_and_changes_nothing(cupy):
    _, model, *_, device_step = on_device(cupy, CONFIG, steps=3)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    spoiled = IMAGES[3].copy()
    spoiled[2, 1, 1, 0] = np.inf
    with device_step.active():
        device_step.update({**batch(cupy, 3), "images": cupy.asarray(spoiled)})
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
        run_folder.create(folder, recipe)
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
    assert trainer.work.recorded == ("kernels" not in choices and choices.get("graph", True))
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
    model, read, _ = run_folder.load_trained(tmp_path / "run")
    with Workers(1) as workers:
        found = evaluate(model, dataset(9), dataclasses.replace(read, backend="numpy"), workers)
    assert found["loss"] == pytest.approx(metrics[-1]["test_loss"], rel=1e-4)


def test_float64_runs_on_the_ops_themselves(cupy):
    recipe = dataclasses.replace(RECIPE, precision="float64", backend="cupy", randaugment=None)
    found, trainer = train(recipe)
    assert isinstance(trainer.work, HostStep)
    expected, _ = train(dataclasses.replace(recipe, backend="numpy"))
    assert found[-1]["train_loss"] == pytest.approx(expected[-1]["train_loss"], rel=1e-9)


def test_nan_and_memory_are_looked_into_in_the_precision_of_the_run(monkeypatch):
    with standin_cupy.installed():
        recipe = dataclasses.replace(RECIPE, backend="cupy", precision="bf16", batch_size=24)
        trainer, seen = Trainer(recipe, dataset(), None, None), []
        step_on_gpu = trainer.work
        monkeypatch.setattr(step_on_gpu, "read", lambda: seen.append(products()) or (None, 0))
        trainer._read()
        monkeypatch.setattr(step_on_gpu, "out_of_memory", lambda batch: seen.append(products()) or f"{batch}")
        monkeypatch.setattr(step_on_gpu, "_compute", _no_memory)
        with pytest.raises(BackendError, match="24"):
            for _ in trainer.run():
                pass
        assert seen == ["bf16", "bf16"]


def _no_memory(*_):
    raise MemoryError


def test_too_little_memory_ends_in_one_line_that_says_what_fits(monkeypatch):
    with standin_cupy.installed() as cupy:
        recipe = dataclasses.replace(RECIPE, backend="cupy", batch_size=24, graph=False)
        trainer = Trainer(recipe, dataset(), None, None)
        taken = standin_cupy.machine.memory - cupy.cuda.runtime.memGetInfo()[0]
        room = taken + cublaslt.WORKSPACE_BYTES + 5 * trainer.work.flat.data.nbytes
        monkeypatch.setattr(standin_cupy.machine, "memory", room)
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


# the GPU's memory


def taken(cupy):
    free, total = cupy.cuda.runtime.memGetInfo()
    return total - free


@pytest.mark.parametrize("position", ["learned", "sincos2d"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_models_trained_one_after_another_hold_the_memory_of_one(position, steps):
    """Once a model is gone, nothing of it is in use, and what is kept for the next one does not grow. Stopped before
    the recording, or after it."""
    model = dataclasses.replace(NOISY, position=position)
    with standin_cupy.installed() as cupy:
        default, held = cupy.get_default_memory_pool(), []
        patch_positions(ViT(model).to("cupy"))  # a table of fixed positions stays
        gc.collect()
        used = default.used_bytes()
        for _ in range(3):
            train(dataclasses.replace(RECIPE, model=model, backend="cupy", steps=steps))
            gc.collect()
            assert default.used_bytes() == used
            held.append(taken(cupy) - used)
        assert held == [held[0]] * 3
        default.free_all_blocks()
        assert taken(cupy) == used


@pytest.mark.parametrize("use", ["evaluation", "a step that finds no memory"])
def test_a_step_that_has_never_ended_gives_back_its_scratch_memory_too(use):
    """It has a stream, on which products have run."""
    with standin_cupy.installed() as cupy:
        default = cupy.get_default_memory_pool()

        def used_in_vain():
            model, optimizer, _ = parts(CONFIG, "cupy")
            device_step = DeviceStep(Classification(model), optimizer)
            given = batch(cupy, 0)
            if use == "evaluation":
                with device_step.active():
                    model(given["images"])
            else:
                device_step._compute = lambda: _no_memory(device_step._backward())
                with pytest.raises(BackendError, match="out of GPU memory"):
                    device_step.update(given)
            assert default.used_bytes() > used

        gc.collect()
        used = default.used_bytes()
        used_in_vain()
        gc.collect()
        assert default.used_bytes() == used


def test_a_step_that_cannot_be_recorded_gives_back_what_the_recording_took():
    with standin_cupy.installed() as cupy:
        model, optimizer, _ = parts(CONFIG, "cupy")
        curious = WithLoss(model, lambda y, labels: _read_loss(F.cross_entropy(y, labels)))
        device_step = DeviceStep(curious, optimizer)
        for i in range(WARM_UP):
            device_step.update(batch(cupy, i))
        assert device_step.pool_bytes() > 0
        with pytest.warns(UserWarning, match="runs without"):
            device_step.update(batch(cupy, 2))
        assert device_step.pool_bytes() == 0


def _read_loss(loss):
    assert loss.item() > 0
    return loss


def test_the_cause_is_told_first_of_what_broke_a_recording():
    def curious(logits, labels):
        try:
            return _read_loss(F.cross_entropy(logits, labels))
        except RuntimeError as error:
            raise ValueError("what was made of it") from error

    with standin_cupy.installed() as cupy:
        model, optimizer, _ = parts(CONFIG, "cupy")
        device_step = DeviceStep(WithLoss(model, curious), optimizer)
        for _ in range(WARM_UP):
            device_step.update(batch(cupy, 0))
        with pytest.warns(UserWarning, match=r"item.*; then what was made of it; then cudaErrorStreamCaptureInv"):
            device_step.update(batch(cupy, 0))


FULL = [
    MemoryError(),
    standin_cupy.cupy.cuda.memory.OutOfMemoryError(512, 0),
    standin_cupy.cupy.cuda.runtime.CUDARuntimeError("cudaErrorMemoryAllocation: out of memory"),
    standin_cupy.cupy.cuda.driver.CUDADriverError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
    RuntimeError("CURAND_STATUS_ALLOCATION_FAILED"),
    RuntimeError("NVRTC_ERROR_OUT_OF_MEMORY (1)"),
    BackendError("cublasLtMatmul failed with CUBLAS_STATUS_ALLOC_FAILED: 1 products"),
]


@pytest.mark.parametrize("error", FULL, ids=repr)
def test_every_word_for_too_little_memory_is_understood(error, monkeypatch):
    with standin_cupy.installed():
        trainer = Trainer(dataclasses.replace(RECIPE, backend="cupy"), dataset(), None, None)
        monkeypatch.setattr(trainer.work, "_compute", _raising(error))
        with pytest.raises(BackendError, match=r"^out of GPU memory with a batch of 6"):
            next(trainer.run())


def test_other_errors_are_no_lack_of_memory(monkeypatch):
    with standin_cupy.installed() as cupy:
        trainer = Trainer(dataclasses.replace(RECIPE, backend="cupy"), dataset(), None, None)
        error = cupy.cuda.runtime.CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")
        monkeypatch.setattr(trainer.work, "_compute", _raising(error))
        with pytest.raises(type(error), match="IllegalAddress"):
            next(trainer.run())


def _raising(error):
    def update():
        raise error

    return update


@pytest.mark.parametrize("call", range(4))
@pytest.mark.parametrize("place", ["_receive", "_backward"])
def test_memory_that_others_do_not_need_is_had_by_a_second_try(place, call, monkeypatch):
    """What another pool had kept; the step tried again is the step."""
    expected, *_ = on_numpy(NOISY)
    with standin_cupy.installed() as cupy:
        model, optimizer, ema = parts(NOISY, "cupy")
        device_step = DeviceStep(Classification(model), optimizer, 1.0, ema, accumulate=1, graph=call == 1)
        found, inner, calls = [], getattr(device_step, place), []

        def fails_at_the_end(*arguments):
            outcome = inner(*arguments)
            calls.append(1)
            if len(calls) == call + 1:
                raise MemoryError
            return outcome

        monkeypatch.setattr(device_step, place, fails_at_the_end)
        for i in range(STEPS):
            device_step.update(batch(cupy, i), seed=(i, 7))
            found.append(device_step.read()[0])
        assert len(calls) > call + 1
    assert_same_results(found, expected, 1e-5)


def test_what_evaluation_had_is_there_for_the_steps():
    with standin_cupy.installed() as cupy:
        trainer = Trainer(dataclasses.replace(RECIPE, backend="cupy"), dataset(), dataset(9), None)
        default = cupy.get_default_memory_pool()
        for progress in trainer.run():
            if progress.metrics:
                assert default.free_bytes() == 0


@pytest.mark.parametrize(("batch", "accumulate", "expected"), [(8, 1, 8), (1024, 1, 256), (64, 8, 8), (9, 2, 5)])
def test_no_more_images_are_evaluated_at_a_time_than_trained_with(batch, accumulate, expected):
    recipe = dataclasses.replace(RECIPE, batch_size=batch, accumulate=accumulate)
    assert evaluation_batch(dataclasses.replace(recipe, backend="cupy")) == expected
    assert evaluation_batch(recipe) == 256


# streams and devices


def test_two_runs_take_turns_and_either_may_end_first():
    with standin_cupy.installed() as cupy:
        null = cupy.cuda.get_current_stream()
        trainers = [Trainer(dataclasses.replace(RECIPE, backend="cupy"), dataset(), None, None) for _ in range(2)]
        first, second = (trainer.run() for trainer in trainers)
        streams = []
        inner = trainers[1].work._receive
        trainers[1].work._receive = lambda *a: streams.append(cupy.cuda.get_current_stream()) or inner(*a)
        next(first), next(second)
        assert cupy.cuda.get_current_stream() == null
        first.close()
        losses = [progress.loss for progress in second]
        assert len(losses) == RECIPE.steps - 1
        assert set(streams) == {trainers[1].work.stream}
        second.close()
        assert cupy.cuda.get_current_stream() == null


@pytest.mark.parametrize("failing", [False, True])
def test_what_follows_a_step_comes_after_it(failing, monkeypatch):
    """Work on the stream that was current before waits for the step's, also if that ended in an error."""
    with standin_cupy.installed() as cupy:
        *_, device_step = on_device(cupy, CONFIG, steps=1)
        null, waits = cupy.cuda.get_current_stream(), []
        wait = type(null).wait_event
        monkeypatch.setattr(type(null), "wait_event", lambda self, event: waits.append(self) or wait(self, event))
        if failing:
            monkeypatch.setattr(device_step, "_compute", _raising(KeyError("a loss")))
        with pytest.raises(KeyError) if failing else contextlib.nullcontext():
            device_step.update(batch(cupy, 1))
        assert waits == [device_step.stream, null]
        assert cupy.cuda.get_current_stream() == null


def test_another_cupy_in_this_process_gets_kernels_of_its_own():
    """Such as the stand-in after the real one: nothing that was made for one is used with the other."""
    with standin_cupy.installed() as cupy, pytest.MonkeyPatch.context() as patch:
        on_device(cupy, CONFIG, steps=1)
        other = types.ModuleType("cupy")
        vars(other).update({name: getattr(cupy, name) for name in ("ndarray", "cuda", "RawModule", *USED)})
        compiled = []
        other.RawModule = lambda code, **options: compiled.append(code) or cupy.RawModule(code=code, **options)
        patch.setitem(sys.modules, "cupy", other)
        flat = FlatParameters([cupy.ones(3, "float32")])
        flat.gather([cupy.ones(3, "float32")], 1.0)
        flat.adamw(cupy.zeros(flat.size, "float32"), cupy.zeros(flat.size, "float32"))
        assert compiled


USED = ("empty", "zeros", "asarray", "float32")


def test_tables_of_positions_belong_to_a_device_and_stay():
    config = dataclasses.replace(CONFIG, position="sincos2d")
    with standin_cupy.installed(capabilities=((9, 0), (8, 6))) as cupy:
        models = [ViT(config).to("cupy").eval()]
        with cupy.cuda.Device(1):
            models.append(ViT(config).to("cupy").eval())
        tables = []
        for number, model in enumerate(models):
            with cupy.cuda.Device(number):
                tables.append(patch_positions(model).data)
                assert tables[-1].device.id == number
                for width in range(4, 40, 4):  # of other models
                    patch_positions(ViT(dataclasses.replace(config, width=width, heads=1)).to("cupy"))
                assert patch_positions(model).data is tables[-1]
        assert_equal(tables[0], tables[1])
        assert patch_positions(models[0].to("numpy")).data.dtype == "float32"
        assert models[0].state_dict().keys() == ViT(config).state_dict().keys()


def test_how_many_blocks_run_at_a_time_is_asked_of_each_device(monkeypatch):
    multiprocessors = {0: 132, 1: 20}
    with standin_cupy.installed(capabilities=((9, 0), (7, 5))) as cupy:
        monkeypatch.setattr(cupy.cuda.runtime, "deviceGetAttribute", lambda attribute, device: multiprocessors[device])
        launcher = Launcher(kernel("optimizer.cu", "clip", MAX_TENSORS=170).function, "clip", cupy)
        found = []
        for number in multiprocessors:
            with cupy.cuda.Device(number):
                found.append(launcher.blocks(10**6, 1024))
    assert found[0] * 20 == found[1] * 132


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_a_gpu_without_a_precision_is_told_before_anything_is_written(precision, tmp_path):
    with standin_cupy.installed(capabilities=((7, 5),)):
        recipe = dataclasses.replace(RECIPE, backend="cupy", precision=precision)
        with pytest.raises(BackendError, match=r"8.0, but this one has 7.5: .* --precision float32"):
            Trainer(recipe, dataset(), None, tmp_path / "run")
        assert not (tmp_path / "run").exists()
        metrics, _ = train(dataclasses.replace(recipe, precision="float32", steps=4))
        assert metrics
