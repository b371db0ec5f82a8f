"""The training loop: steps, evaluation, checkpoints and exact resumption.

Everything random is a function of (seed, step): batches, augmentation, dropout masks. So the state of a run is its
step number, parameters, optimiser state and averages, and a resumed run ends bit for bit like an uninterrupted one.
"""

import contextlib
import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, blas, kernels, to_numpy, xp_of
from minivit.backend.cores import available_cores
from minivit.backend.cupy_kernels.memory import is_full
from minivit.backend.precision import precision, require
from minivit.backend.workers import Workers, keep_freed_memory
from minivit.data import ArrayDataset, Dataset, Loader, eval_batches
from minivit.data.device_loader import on_device
from minivit.data.imagenet import some
from minivit.errors import BackendError, CheckpointError, DataError, NonFiniteError, quoted
from minivit.models import ResNet, ViT, freeze, inside
from minivit.models.archive import replacing
from minivit.models.families import ModelConfig, build
from minivit.nn.module import check_match
from minivit.optim import EMA, SGD, AdamW, warmup_cosine, warmup_linear
from minivit.optim.schedules import Schedule
from minivit.plots import learning_curves
from minivit.runs import folder as run_folder
from minivit.runs import improvement
from minivit.runs.answers import Task
from minivit.runs.recipes import Recipe
from minivit.tensor import Tensor, no_grad
from minivit.update.device import DeviceStep
from minivit.update.not_finite import is_finite
from minivit.update.step import LossFunction, StepResult, like_parameters, step

PIECE_TOKENS = 2048  # enough rows for fast matrix products, few enough to keep the memory of a step small
LEAST_SHARE = 2**14  # numbers in one activation of a worker's share; with less, threads wait for each other
MOST_WORKERS = 8  # nobody has measured more; they share one interpreter lock
READ_EVERY = 20  # steps after which a GPU's losses are fetched; each time it has to be waited for


@np.errstate(all="ignore")
def evaluate(
    model: ViT | ResNet,
    dataset: Dataset,
    recipe: Recipe,
    workers: Workers,
    batch_size: int = 256,
    confusion: np.ndarray | None = None,
) -> dict[str, float]:
    """Mean loss and accuracy of the model, in evaluation mode, over a data set: {"loss", "accuracy", "images"}.

    The loss is the one of training without label smoothing. confusion: (K, K) integers, to whose [i, j] the number of
    images of class i is added that were taken for class j. Raises DataError if no image could be read.
    """
    loss_function = F.sigmoid_cross_entropy if recipe.loss == "sigmoid" else F.cross_entropy
    total, correct, count = 0.0, 0, 0

    def judge(piece: tuple[np.ndarray, np.ndarray]) -> tuple[float, np.ndarray]:
        images, labels = piece
        with no_grad(), numerics(recipe):
            logits = model(images)
            loss = loss_function(logits, like_parameters(labels, model.norm.scale))
        return loss.item() * len(images), to_numpy(logits.data).argmax(axis=-1)

    batches = eval_batches(dataset, batch_size, recipe.augment.evaluation(), threads=loader_threads(dataset))
    with model.evaluating():
        for images, labels in batches:
            per_worker = pieces_per_worker(len(images), recipe.model.num_tokens, workers.count)
            parts = min(workers.count * (per_worker if recipe.backend == "numpy" else 1), len(images))
            pieces = zip(np.array_split(images, parts), np.array_split(labels, parts), strict=True)
            losses, answers = zip(*workers.map(judge, pieces), strict=True)
            predicted = np.concatenate(answers)
            total, correct, count = total + sum(losses), correct + int((predicted == labels).sum()), count + len(images)
            if confusion is not None:
                confusion += inside.confusion_counts(labels, predicted, len(confusion))
    if count == 0:
        raise DataError(f"{dataset.name}: none of its {len(dataset)} images could be read")
    return {"loss": total / count, "accuracy": correct / count, "images": count}


def loader_threads(dataset: Dataset) -> int:
    """Threads that prepare batches: one for images in memory, one per core where files must be decoded."""
    return 1 if isinstance(dataset, ArrayDataset) else available_cores()


class _StopError(KeyboardInterrupt):
    """Ends waiting for a batch."""


@dataclasses.dataclass
class Progress:
    """What `Trainer.run` yields after every step; `metrics` is the line of metrics.jsonl, if one was written."""

    step: int
    loss: float
    accuracy: float
    images_per_second: float
    metrics: dict[str, Any] | None = None


class Trainer:
    """A run: model, data, optimiser and run folder of a recipe. `folder=None` writes nothing.

    The folder must hold the run's config.json already (`runs.create`). model: with the weights to start from; without
    one they are drawn. Raises DataError, ConfigError, BackendError or CheckpointError, each in one line.
    """

    def __init__(
        self,
        recipe: Recipe,
        train_data: Dataset,
        test_data: Dataset | None,
        folder: str | Path | None,
        model: ViT | None = None,
    ):
        self.recipe, self.train_data, self.test_data = recipe, train_data, test_data
        self.folder = None if folder is None else Path(folder)
        check_fits(recipe, train_data)
        self.steps_per_epoch = len(train_data) // recipe.batch_size or 1
        self.total_steps = recipe.steps or max(1, round(recipe.epochs * self.steps_per_epoch))
        self.loader = Loader(
            train_data,
            recipe.batch_size,
            recipe.augment,
            seed=recipe.seed,
            total_steps=self.total_steps,
            mixup=recipe.mixup,
            cutmix=recipe.cutmix,
            threads=loader_threads(train_data),
        )
        self.model = model or build(recipe.model, seed=recipe.seed, dtype=recipe.dtype)
        self.model.to(recipe.backend).train()
        freeze(self.model, recipe.freeze)
        self.model.task = Task.of(recipe, train_data.classes)
        self.model.recompute_blocks = recipe.recompute
        self.optimizer = make_optimizer(recipe, self.model, self.total_steps)
        self.ema = EMA(self.model.named_parameters(), recipe.ema) if recipe.ema else None
        self.device_step = self._make_device_step()
        self.step = 0
        self.metrics: list[dict[str, Any]] = []
        self.stop_requested = False
        self.warn: Callable[[str], Any] = warnings.warn  # of what does not end the run
        self._waiting = False  # for the next batch
        self._version: Any = None  # of the checkpoint that this run has read or written
        self._metrics_behind = False  # whether lines could not be written to metrics.jsonl
        self._sums = [0.0, 0]  # training loss since the last evaluation, and over how many steps
        self._latest: StepResult | None = None  # of what was last read from a GPU

    def _make_device_step(self) -> DeviceStep | None:
        """What updates the model on a GPU. In float64, and with the readable ops, `step` does that on any device."""
        recipe = self.recipe
        if recipe.backend != "cupy" or recipe.kernels != "fused" or recipe.dtype != "float32":
            return None
        require(recipe.precision)  # here, before anything is written
        loss, pieces = training_loss(recipe), accumulation(recipe)
        return DeviceStep(self.model, self.optimizer, loss, recipe.clip_norm, self.ema, pieces, recipe.graph)

    @property
    def complete(self) -> bool:
        """Whether all steps are done, or so many evaluations have brought nothing better that the run ends."""
        return self.step >= self.total_steps or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        """Whether the recipe's patience is at its end."""
        patience = self.recipe.patience
        return patience is not None and improvement.evaluations_since(self.metrics) >= patience

    def run(self) -> Generator[Progress, None, None]:
        """Train to the end, or until `stop`, and save. Yields after every step; a run that starts from given weights
        yields once before the first step, too. A save that fails is a warning, unless it is the last.

        Raises CheckpointError if another process trains this run, or has since `restore`.
        """
        work = self._run() if self.device_step is None else self.device_step.ordered(self._run())
        if self.folder is None:
            yield from work
            return
        with run_folder.one_writer(self.folder, self.warn):
            if run_folder.version(self.folder) != self._version:
                raise CheckpointError(f"{self.folder} holds other weights than this run: restore() reads them")
            yield from work
            self.draw()

    def stop(self) -> None:
        """Let `run` save and end: after the step in work, or now if it waits for images. For a signal's handler."""
        self.stop_requested = True
        if self._waiting:
            raise _StopError

    def _run(self) -> Generator[Progress, None, None]:
        keep_freed_memory()
        eval_every = self.recipe.eval_every or self.steps_per_epoch
        save_every = self.recipe.checkpoint_every or eval_every
        self.loader.start_step = self.step
        with Workers(worker_count(self.recipe)) as workers, self._batches() as batches, self._saving_on_bad_data():
            if self._sums[1] and self._due(eval_every):  # an unreadable test image ended the run in this evaluation
                self._evaluate(workers, rate=0.0)
                self._keep()
            if self.recipe.init_from and not self.step and not self.metrics:
                self._keep()  # first, so that whoever resumes the run does not need the file
                if self.test_data is not None:
                    yield Progress(0, math.nan, math.nan, 0.0, self._evaluate(workers, rate=0.0))
            begin, seen = time.perf_counter(), 0
            for images, labels in self._until_stopped(batches):
                result = self.update(images, labels, workers)
                seen += len(images)
                rate = seen / (time.perf_counter() - begin)
                metrics = None
                if self._due(eval_every):
                    metrics = self._evaluate(workers, rate)
                    begin, seen = time.perf_counter(), 0
                if self._due(save_every) or (metrics and self.complete):
                    self._keep()
                yield Progress(self.step, result.loss, result.accuracy, rate, metrics)
            if self.stop_requested:
                self._keep()

    def _until_stopped(self, batches: Iterable[tuple[Array, Array]]) -> Iterator[tuple[Array, Array]]:
        """The batches; none any more once the run is complete or shall stop, which also ends waiting for one."""
        iterator = iter(batches)
        while not (self.stop_requested or self.complete):
            try:
                self._waiting = True
                batch = next(iterator, None)
            except _StopError:
                batch = None
            finally:
                self._waiting = False
            if batch is None:
                return
            yield batch

    def _keep(self) -> None:
        """Save. If that fails and it is not for the last time, warn and go on."""
        try:
            self.save()
        except CheckpointError as error:
            if not (self.complete or self.stop_requested):
                self.warn(f"{error}; training goes on")
                return
            assert self.folder is not None
            saved = "nothing is saved" if self._version is None else "what was saved last is from before"
            mended = f"once that is mended, go on with --resume {quoted(self.folder)}"
            raise CheckpointError(
                f"{error}; what was learned up to step {self.step} is lost, {saved}: {mended}"
            ) from error

    @contextlib.contextmanager
    def _batches(self) -> Iterator[Iterable[tuple[Array, Array]]]:
        """The loader, until the context ends; on a GPU its batches are there already."""
        if self.device_step is None:
            with self.loader:
                yield self.loader
        else:
            with on_device(self.loader, self.device_step.xp) as batches:
                yield batches

    def _due(self, every: int) -> bool:
        """Whether what happens every so many steps, and at the end, happens now."""
        return self.step % every == 0 or self.step == self.total_steps

    @contextlib.contextmanager
    def _saving_on_bad_data(self) -> Iterator[None]:
        """Within this context an image that cannot be read ends the run saved, not lost."""
        try:
            yield
        except DataError as error:
            if self.folder is None:
                raise
            try:
                self.save()
            except CheckpointError as failed:
                raise DataError(f"{error}; and {failed}") from error
            again = f"go on with --resume {quoted(self.folder)}"
            again = f"{again} --bad-images skip" if self.recipe.bad_images == "refuse" else f"once mended, {again}"
            raise DataError(f"{error}; saved after step {self.step}: {again}") from error

    def update(self, images: Array, labels: Array, workers: Workers) -> StepResult:
        """One step of model, optimiser and averages. On a GPU the result is that of the steps last read."""
        recipe = self.recipe
        if self.device_step is not None:
            return self._launch(self.device_step, images, labels)
        try:
            with numerics(recipe):
                result = step(
                    self.model,
                    self.optimizer,
                    images,
                    labels,
                    training_loss(recipe),
                    recipe.clip_norm,
                    workers,
                    accumulation(recipe),
                    seed=(recipe.seed, self.step, 2),  # the 2 keeps it apart from the generator of the batch
                )
        except NonFiniteError as error:
            raise self._not_finite(str(error), self.step + 1) from None
        if self.ema:
            self.ema.update()
        self.step += 1
        self._sums = [self._sums[0] + result.loss, self._sums[1] + 1]
        return result

    def _launch(self, device_step: DeviceStep, images: Array, labels: Array) -> StepResult:
        """One step on a GPU, whose outcome is waited for now and then only."""
        with numerics(self.recipe):
            full = False
            try:
                device_step(images, labels, seed=(self.recipe.seed, self.step, 2))
            except Exception as error:
                full = is_full(error)
                if not full:
                    raise
            if full:  # not sooner: what the traceback holds is freed at the end of that block
                raise BackendError(device_step.out_of_memory(len(images)))
        self.step += 1
        if self._latest is None or self.step % READ_EVERY == 0:
            self._read()
        assert self._latest is not None
        return self._latest

    def _read(self) -> None:
        """Bring the losses of the last steps from the GPU."""
        if self.device_step is None:
            return
        try:
            with numerics(self.recipe):
                result, steps = self.device_step.read()
        except NonFiniteError as error:
            raise self._not_finite(str(error), self.step) from None
        if steps:
            self._latest = result
            self._sums = [self._sums[0] + result.loss * steps, self._sums[1] + steps]

    def _evaluate(self, workers: Workers, rate: float) -> dict[str, Any]:
        """Measure, and add a line to metrics.jsonl."""
        self._read()
        test: dict[str, Any] = {"loss": None, "accuracy": None}
        if self.test_data is not None:
            with self.ema.swapped() if self.ema else contextlib.nullcontext():
                test = evaluate(self.model, self.test_data, self.recipe, workers, evaluation_batch(self.recipe))
            if self.device_step is not None:
                self.device_step.free_unused()  # which the recorded step could not have
            if not math.isfinite(test["loss"]):
                raise self._not_finite("the test loss", self.step)
        lr = self.optimizer.lr
        before = not self.step  # the first update there is neither a training loss nor a learning rate
        line = {
            "step": self.step,
            "epoch": round(self.step / self.steps_per_epoch, 4),
            "train_loss": None if before else self._sums[0] / max(1, self._sums[1]),
            "test_loss": test["loss"],
            "test_accuracy": test["accuracy"],
            "lr": None if before else float(lr(self.step - 1) if callable(lr) else lr),
            "images_per_second": round(rate, 1),
        }
        self._sums = [0.0, 0]
        self.metrics.append(line)
        for write in (self._write_metrics, self._write_best):  # the second also if the first fails
            try:
                write()
            except CheckpointError as error:
                self.warn(f"{error}; training goes on")
        return line

    def _write_metrics(self) -> None:
        """Add the last line to metrics.jsonl, or write all of it if that has failed before."""
        if self.folder:
            behind, self._metrics_behind = self._metrics_behind, True
            run_folder.write_metrics(self.folder, self.metrics if behind else self.metrics[-1:], append=not behind)
            self._metrics_behind = False

    def _write_best(self) -> None:
        """Write best.npz if no evaluation was better than the last."""
        if self.folder and improvement.best(self.metrics) is self.metrics[-1]:
            run_folder.write_checkpoint(self.folder, self._states("model", "ema"), self._meta(), run_folder.BEST)

    def _not_finite(self, where: str, step: int) -> NonFiniteError:
        """The error that ends the run."""
        saved = self.folder and (self.folder / run_folder.LAST).exists()
        kept = f"the checkpoint in {self.folder} is from before; " if saved else ""
        if not step:
            return NonFiniteError(f"NaN or infinity in {where} before the first update: the starting weights give it")
        return NonFiniteError(
            f"step {step}: NaN or infinity, first in {where}; {kept}try again with a lower --lr or --clip-norm"
        )

    def save(self) -> None:
        """Write checkpoint.npz, replacing the old one only once the new one is complete. Raises NonFiniteError instead
        of saving NaN or infinity."""
        if self.folder is None:
            return
        self._read()
        states = self._states("model", "optimizer", "ema")
        for part, state in states.items():
            for name, array in state.items():
                if not is_finite(array):
                    raise self._not_finite(f"{part}/{name} after the update", self.step)
        run_folder.write_checkpoint(self.folder, states, self._meta())
        self._version = run_folder.version(self.folder)

    def _states(self, *names: str) -> dict[str, dict[str, Any]]:
        return {name: part.state_dict() for name, part in self._parts() if name in names}

    def _meta(self) -> dict[str, Any]:
        """What a checkpoint tells beside arrays."""
        data = {"classes": self.train_data.classes, "images": len(self.train_data)}
        return {"step": self.step, "sums": self._sums, "metrics": self.metrics, **data}

    def draw(self) -> None:
        """Write curves.png, and what metrics.jsonl lacks."""
        if self._metrics_behind:
            self._write_metrics()
        if self.folder and self.metrics:
            with replacing(self.folder / "curves.png") as path:
                title = f"{run_folder.short_name(self.recipe.data)}, {self.total_steps} steps"
                learning_curves(self.metrics, title, path, self.recipe.loss)

    def restore(self) -> None:
        """Continue from the folder's checkpoint, if it has one yet; metrics written after it are taken back.

        config.json then says where the data is now and how long the run is. Raises CheckpointError with a list of what
        does not fit, or if another process trains this run, DataError if the data has changed; then nothing here has
        been changed.
        """
        assert self.folder is not None
        with run_folder.one_writer(self.folder, self.warn):
            self._restore(self.folder)

    def _restore(self, folder: Path) -> None:
        path = folder / run_folder.LAST
        version = run_folder.version(folder)
        if path.exists():
            states, meta = run_folder.read_checkpoint(path)
            parts = dict(self._parts())
            check_match(
                {f"{name}/{key}": np.shape(x) for name, part in parts.items() for key, x in part.state_dict().items()},
                {f"{name}/{key}": array for name, state in states.items() for key, array in state.items()},
                str(path),
            )
            self._check_data(meta, path)
            if meta["step"] > self.total_steps:
                raise CheckpointError(f"{folder} has done {meta['step']} steps, more than {self.total_steps}")
            for name, part in parts.items():
                part.load_state_dict(states[name])
            self.step, self._sums, self.metrics = meta["step"], meta["sums"], meta["metrics"]
        elif self.recipe.init_from:
            raise CheckpointError(f"{folder} was stopped before its weights were saved: start anew with --config")
        self._version = version
        run_folder.write_metrics(folder, self.metrics)
        run_folder.record_changes(folder, self.recipe)

    def _check_data(self, meta: dict[str, Any], path: Path) -> None:
        """Raise DataError unless the training data are those of the checkpoint."""
        data = self.train_data
        if (meta["images"], meta["classes"]) == (len(data), data.classes):
            return
        found, before = set(data.classes), set(meta["classes"])
        names = [f"new: {some(sorted(found - before))}"] if found - before else []
        names += [f"missing: {some(sorted(before - found))}"] if before - found else []
        raise DataError(
            f"{data.name} has changed: {len(data)} images of {len(data.classes)} classes, {meta['images']} of "
            f"{len(meta['classes'])} when {path} was saved{''.join(f'; {text}' for text in names)}; bring them "
            "back, say where they are with --data, or start anew with --config"
        )

    def _parts(self) -> list[tuple[str, Any]]:
        """What a checkpoint holds the state of."""
        parts = [("model", self.model), ("optimizer", self.optimizer), ("ema", self.ema)]
        return [(name, part) for name, part in parts if part is not None]


@contextlib.contextmanager
def numerics(recipe: Recipe) -> Iterator[None]:
    """Within this context compute as a recipe says: by which kernels, in which precision."""
    with kernels(recipe.kernels), precision(recipe.precision):
        yield


def check_fits(recipe: Recipe, data: Dataset) -> None:
    """Raise DataError unless the model takes the images and names the classes of the data set."""
    model = recipe.model
    if (model.channels, model.num_classes) != (data.channels, len(data.classes)):
        raise DataError(
            f"{data.name} has {len(data.classes)} classes and {data.channels} channels, "
            f"the model {model.num_classes} classes and {model.channels} channels"
        )


def worker_count(recipe: Recipe, batch_size: int | None = None) -> int:
    """Threads that share a batch (default: the recipe's): as the recipe says, or what suits batch and machine, or one
    alone to feed a GPU."""
    if recipe.workers or recipe.backend != "numpy":
        return recipe.workers or 1
    return default_workers(batch_size or recipe.batch_size, recipe.model)


def default_workers(images: int, model: ModelConfig) -> int:
    """Threads to share a batch of so many images: one per core, but no more than keep each other busy, and one alone
    where the matrix library cannot be kept from using all cores itself."""
    shares = images * model.num_tokens * model.width // LEAST_SHARE
    count = min(available_cores(), images, shares, MOST_WORKERS)
    return count if count > 1 and blas.limitable() else 1


def pieces_per_worker(images: int, tokens: int, workers: int) -> int:
    """Into how many pieces each worker should cut its share of a batch: about PIECE_TOKENS tokens in each."""
    return max(1, round(images * tokens / (workers * PIECE_TOKENS)))


def accumulation(recipe: Recipe) -> int:
    """Pieces of each worker's share of a batch: as the recipe says, or of a size that suits the CPU's caches."""
    if recipe.accumulate or recipe.backend != "numpy":
        return recipe.accumulate or 1
    return pieces_per_worker(recipe.batch_size, recipe.model.num_tokens, worker_count(recipe))


def evaluation_batch(recipe: Recipe) -> int:
    """Images that are evaluated at a time: on a GPU no more than training has room for."""
    return 256 if recipe.backend == "numpy" else min(256, -(-recipe.batch_size // accumulation(recipe)))


def training_loss(recipe: Recipe) -> LossFunction:
    """The loss that a recipe minimises."""
    if recipe.loss == "sigmoid":
        return _sigmoid_loss
    return functools.partial(F.cross_entropy, label_smoothing=recipe.label_smoothing)


def _sigmoid_loss(logits: Tensor, labels: Array) -> Tensor:
    """Class numbers made dense here, since the op would look at them to refuse wrong ones, and a GPU had to be waited
    for; with 0.0 added, logits that were bfloat16 are float32."""
    if labels.ndim == 1:
        labels = labels[:, None] == xp_of(labels).arange(logits.shape[-1])
    return F.sigmoid_cross_entropy(logits + 0.0, labels.astype("float32"))


def make_optimizer(recipe: Recipe, model: ViT | ResNet, total_steps: int) -> AdamW | SGD:
    """The optimiser and learning-rate schedule of a recipe."""
    warmup = round(recipe.warmup * total_steps)
    lr: float | Schedule = recipe.lr
    if recipe.schedule == "cosine":
        lr = warmup_cosine(recipe.lr, total_steps, warmup)
    elif recipe.schedule == "linear":
        lr = warmup_linear(recipe.lr, total_steps, warmup, final_lr=0.0)
    parameters = model.named_parameters()
    if recipe.optimizer == "sgd":
        return SGD(parameters, lr, recipe.momentum, recipe.weight_decay)
    return AdamW(parameters, lr, (0.9, recipe.beta2), weight_decay=recipe.weight_decay)
