"""The training loop: steps, evaluation, checkpoints and exact resumption.

Everything random is a function of (seed, step): batches, augmentation, dropout masks. So the state of a run is its step
number, parameters, optimiser state and averages, and a resumed run ends exactly as an uninterrupted one, bit for bit.
"""

import contextlib
import dataclasses
import math
import time
import warnings
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from minivit.backend.workers import Workers, keep_freed_memory
from minivit.data import Dataset, Loader
from minivit.errors import CheckpointError, ConfigError, NonFiniteError
from minivit.models import ViT, freeze
from minivit.nn import Module
from minivit.optim import EMA
from minivit.ranks import Ranks
from minivit.runs import folder as run_folder
from minivit.runs.answers import Task
from minivit.runs.building import check_fits, make_optimizer, make_update, recompute
from minivit.runs.evaluation import evaluate, neighbours
from minivit.runs.numerics import loader_threads, numerics, worker_count
from minivit.runs.objectives import make_objective
from minivit.runs.recipes import Recipe
from minivit.runs.saving import SavedRun
from minivit.runs.tally import Tally
from minivit.update.batch import Batch
from minivit.update.objective import Classification
from minivit.update.step import StepResult


class _StopError(KeyboardInterrupt):
    """Ends the wait for a batch."""


@dataclasses.dataclass
class Progress:
    """Yielded by `Trainer.run` after every step; `metrics` is the line of metrics.jsonl, if one was written.

    accuracy: NaN if nothing is classified.
    """

    step: int
    loss: float
    accuracy: float
    images_per_second: float
    metrics: dict[str, Any] | None = None


class Trainer(SavedRun):
    """A run: objective, data, optimiser and run folder of a recipe. `folder=None` writes nothing.

    The folder must already hold the run's config.json (`runs.create`). model: with the weights to start from; None
    draws them. teacher: the objective's teacher, if it has one. ranks: the processes that share the run; only rank 0
    has a folder. Raises DataError, ConfigError, BackendError or CheckpointError, each in one line.
    """

    def __init__(
        self,
        recipe: Recipe,
        train_data: Dataset,
        test_data: Dataset | None,
        folder: str | Path | None,
        model: ViT | None = None,
        teacher: Module | None = None,
        ranks: Ranks | None = None,
    ):
        super().__init__()
        self.ranks = ranks or Ranks()
        self.recipe, self.train_data, self.test_data = recipe, train_data, test_data
        self.folder = None if folder is None else Path(folder)
        check_fits(recipe, train_data)
        self.steps_per_epoch = len(train_data) // recipe.batch_size or 1
        self.total_steps = recipe.total_steps(len(train_data))
        self.objective = make_objective(recipe, train_data.classes, len(train_data), model, teacher)
        self.objective.begin(train_data, recipe.augment.evaluation(), recipe.seed)
        self.loader = Loader(
            train_data,
            recipe.batch_size,
            recipe.augment,
            self.objective,
            seed=recipe.seed,
            total_steps=self.total_steps,
            threads=loader_threads(train_data),
            share=(self.ranks.rank, self.ranks.count),
        )
        self.objective.to(recipe.backend).train()
        freeze(self.objective.learner, recipe.freeze)  # type: ignore[arg-type]
        recompute(self.objective, recipe.recompute)
        if isinstance(self.objective, Classification):
            self.model.task = Task.of(recipe, train_data.classes)
        self.optimizer = make_optimizer(recipe, self.objective, self.total_steps)
        self.ema = EMA(self.objective.named_parameters(), recipe.ema) if recipe.ema else None
        self.workers = Workers(worker_count(recipe, tokens=self.objective.tokens, ranks=self.ranks.count))
        self.work = make_update(recipe, self.objective, self.optimizer, self.ema, self.workers, self.ranks)
        parts = {"objective": self.objective, "optimizer": self.optimizer, "ema": self.ema}
        self.parts = {name: part for name, part in parts.items() if part is not None}
        self.warn = warnings.warn
        self.stop_requested = False
        self._waiting = False  # for the next batch
        self._untaught = recipe.teacher is not None and teacher is None  # until weights of the teacher are restored
        self._latest: StepResult | None = None  # what was last read of the steps

    @property
    def model(self) -> Any:
        """The network being trained."""
        return self.objective.encoder

    def run(self) -> Generator[Progress, None, None]:
        """Train to the end, or until `stop`, and save. Yields after every step.

        A run with given starting weights also yields before the first step. A failed save is a warning, except the
        last. Raises CheckpointError if another process trains this run or has trained it since `restore`, and
        ConfigError if the run's teacher was neither given nor restored.
        """
        if self._untaught and self._version is None:
            raise ConfigError("the run needs its teacher's weights: Trainer(..., teacher=teacher)")
        work = self.work.ordered(self._run())
        with contextlib.ExitStack() as stack:
            self.ranks.first(lambda: stack.enter_context(self._writing()))
            if self.ranks.count > 1:
                self.ranks.check_equal(self.flat_state())
            yield from work
            self.ranks.first(self.draw)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """In this context the run has its folder, if there is one, for itself."""
        if self.folder is None:
            yield
            return
        with run_folder.one_writer(self.folder, self.warn):
            if run_folder.version(self.folder) != self._version:
                raise CheckpointError(f"{self.folder} holds weights that this run has not loaded: call restore()")
            yield

    def stop(self) -> None:
        """Let `run` save and end after the current step, or now if it waits for images. Safe in a signal handler."""
        self.stop_requested = True
        if self._waiting:
            raise _StopError

    def _run(self) -> Generator[Progress, None, None]:
        keep_freed_memory()
        eval_every = self.recipe.eval_every or self.steps_per_epoch
        save_every = self.recipe.checkpoint_every or eval_every
        self.loader.start_step = self.step
        with self.workers, self.work.batches(self.loader) as batches, self._saving_on_bad_data():
            yield from self._begin(eval_every)
            begin, seen = time.perf_counter(), 0
            for batch in self.ranks.in_step(self._until_stopped(batches)):
                result = self.update(batch)
                seen += self.recipe.batch_size
                rate = seen / (time.perf_counter() - begin)
                metrics = None
                if self._due(eval_every):
                    metrics = self._evaluate(rate)
                    begin, seen = time.perf_counter(), 0
                if self._due(save_every) or (metrics and self.complete):
                    self._keep()
                yield Progress(self.step, result.loss, result.accuracy, rate, metrics)
            if not self.complete:
                self.stop_requested = True  # on another rank, perhaps
                self._keep()

    def _begin(self, eval_every: int) -> Iterator[Progress]:
        """Before the first step: finish an evaluation that an unreadable test image ended, or evaluate the starting
        weights."""
        if self.tally.sums["steps"] and self._due(eval_every):
            self._evaluate(rate=0.0)
            self._keep()
        if self.recipe.needs_files and not self.step and not self.metrics:
            self._keep()  # first, so that whoever resumes the run does not need the files
            if self.recipe.init_from and self.test_data is not None:
                yield Progress(0, math.nan, math.nan, 0.0, self._evaluate(rate=0.0))

    def _until_stopped(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, until the run is complete or stopped; stopping also ends a wait for a batch."""
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

    def _due(self, every: int) -> bool:
        """Whether a periodic action is due now; at the end it always is."""
        return self.step % every == 0 or self.step == self.total_steps

    def update(self, batch: Batch) -> StepResult:
        """One step of objective, optimiser and averages. On a GPU it returns the results read last."""
        with self._naming(self.step + 1):
            self.work.update(batch, seed=(self.recipe.seed, self.step, 2))  # 2: apart from the batch's generator
        self.step += 1
        if self._latest is None or self.step % self.work.read_every == 0:
            self._read()
        assert self._latest is not None
        return self._latest

    def _read(self) -> None:
        """Fetch the results of the last steps from the device."""
        with self._naming(self.step):
            result, steps = self.work.read()
        if result is not None and steps:
            self._latest = result
            self.tally.add(result, steps)

    @contextlib.contextmanager
    def _naming(self, step: int) -> Iterator[None]:
        """In this context use the recipe's numerics; an error about NaN or infinity names the step."""
        try:
            with numerics(self.recipe):
                yield
        except NonFiniteError as error:
            raise self._not_finite(str(error), step) from None

    def _evaluate(self, rate: float) -> dict[str, Any]:
        """Measure, and add a line to metrics.jsonl."""
        self._read()
        test = self._measured() if self.test_data is not None else {}
        lr = self.optimizer.lr
        before = not self.step  # the first update there is neither a training loss nor a learning rate
        line = {
            "step": self.step,
            "epoch": round(self.step / self.steps_per_epoch, 4),
            "train_loss": None,
            "test_loss": None,
            "test_accuracy": None,
            **{f"train_{name}": mean for name, mean in self.tally.means().items()},
            **{f"test_{name}": mean for name, mean in test.items() if name != "images"},
            "lr": None if before else float(lr(self.step - 1) if callable(lr) else lr),
            "images_per_second": round(rate, 1),
        }
        self.tally = Tally()
        self.metrics.append(line)
        for write in (self._write_metrics, self._write_best, self._write_samples):  # each also if one before it fails
            try:
                write()
            except CheckpointError as error:
                self.warn(f"{error}; training goes on")
        return line

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """In this context the weights are the averaged ones, if there are any."""
        with self.ema.swapped() if self.ema else contextlib.nullcontext():
            yield
        self.work.free_unused()  # which a recorded step could not have

    def _measured(self) -> dict[str, Any]:
        """The measures of the averaged weights, or of the model without any, on the test data."""
        assert self.test_data is not None
        with self._averaged():
            parts = self.test_data, self.recipe, self.workers
            test = evaluate(self.objective, *parts, ranks=self.ranks)
            if "accuracy" not in test and self.objective.has_features and len(self.train_data.classes) > 1:
                test["knn"] = neighbours(self.objective, self.train_data, *parts, self.ranks)
        if not math.isfinite(test["loss"]):
            raise self._not_finite("the test loss", self.step)
        return test
