"""A run on disk: checkpoints, metrics and curves, saved during training and restored exactly."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minivit.data import Dataset
from minivit.data.imagenet import some
from minivit.errors import CheckpointError, DataError, NonFiniteError, quoted
from minivit.models.archive import replacing
from minivit.nn.module import check_match
from minivit.plots import image_rows, learning_curves
from minivit.ranks import Ranks
from minivit.runs import folder as run_folder
from minivit.runs import improvement
from minivit.runs.numerics import numerics
from minivit.runs.recipes import Recipe
from minivit.runs.tally import Tally
from minivit.tensor import no_grad
from minivit.update.not_finite import is_finite
from minivit.update.objective import Objective


class SavedRun:
    """The part of a Trainer that keeps it in its folder, if it has one.

    parts: what a checkpoint stores, by name.   step, tally, metrics: the progress of the run.
    """

    recipe: Recipe
    train_data: Dataset
    objective: Objective
    folder: Path | None
    total_steps: int
    parts: dict[str, Any]
    step: int
    tally: Tally
    metrics: list[dict[str, Any]]
    warn: Callable[[str], Any]  # of what does not end the run
    stop_requested: bool
    ranks: Ranks

    def __init__(self) -> None:
        self.step, self.tally, self.metrics = 0, Tally(), []
        self._version: Any = None  # of the checkpoint that this run has read or written
        self._metrics_behind = False  # whether lines could not be written to metrics.jsonl

    @property
    def complete(self) -> bool:
        """Whether all steps are done, or the recipe's patience has run out."""
        return self.step >= self.total_steps or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        """Whether the recipe's patience has run out."""
        patience = self.recipe.patience
        return patience is not None and improvement.evaluations_since(self.metrics) >= patience

    def state(self) -> dict[str, dict[str, Any]]:
        """The state of a run, by part: the arrays of a checkpoint."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def flat_state(self) -> dict[str, Any]:
        """The same by the names in a checkpoint, "part/name"."""
        return {f"{part}/{name}": x for part, state in self.state().items() for name, x in state.items()}

    def _read(self) -> None:
        """Fetch the results of the last steps from the device."""
        raise NotImplementedError

    def save(self) -> None:
        """Write checkpoint.npz; the old one is replaced only when the new one is complete. Raises NonFiniteError
        instead of saving NaN or infinity."""
        if self.folder is None and self.ranks.count == 1:
            return
        self._read()
        state = self.flat_state()
        for name, array in state.items():
            if not is_finite(array):
                raise self._not_finite(f"{name} after the update", self.step)
        self.ranks.check_equal(state)
        self.ranks.first(self._write)

    def _write(self) -> None:
        """Write checkpoint.npz."""
        if self.folder is not None:
            run_folder.write_checkpoint(self.folder, self.state(), self._meta())
            self._version = run_folder.version(self.folder)

    def _meta(self) -> dict[str, Any]:
        """The metadata of a checkpoint."""
        data = {"classes": self.train_data.classes, "images": len(self.train_data)}
        return {"step": self.step, "sums": self.tally.sums, "metrics": self.metrics, **data}

    def _keep(self) -> None:
        """Save. If that fails before the end of the run, warn and go on."""
        try:
            self.save()
        except CheckpointError as error:
            if not (self.complete or self.stop_requested):
                self.warn(f"{error}; training goes on")
                return
            if self.folder is None:  # rank 0 says more
                raise
            saved = "nothing is saved" if self._version is None else "the last save is older"
            mended = f"once that is mended, go on with --resume {quoted(self.folder)}"
            raise CheckpointError(
                f"{error}; what was learned up to step {self.step} is lost, {saved}: {mended}"
            ) from error

    @contextlib.contextmanager
    def _saving_on_bad_data(self) -> Iterator[None]:
        """In this context, an unreadable image ends the run, but first the run is saved."""
        try:
            yield
        except DataError as error:
            try:
                self.save()
            except CheckpointError as failed:
                raise DataError(f"{error}; and {failed}") from error
            if self.folder is None:
                raise
            again = f"go on with --resume {quoted(self.folder)}"
            again = f"{again} --bad-images skip" if self.recipe.bad_images == "refuse" else f"once mended, {again}"
            raise DataError(f"{error}; saved after step {self.step}: {again}") from error

    def _write_metrics(self) -> None:
        """Add the last line to metrics.jsonl, or rewrite the whole file if that has failed before."""
        if self.folder:
            behind, self._metrics_behind = self._metrics_behind, True
            run_folder.write_metrics(self.folder, self.metrics if behind else self.metrics[-1:], append=not behind)
            self._metrics_behind = False

    def _write_best(self) -> None:
        """Write best.npz if the last evaluation is the best."""
        if self.folder and improvement.best(self.metrics) is self.metrics[-1]:
            best = {name: state for name, state in self.state().items() if name != "optimizer"}
            run_folder.write_checkpoint(self.folder, best, self._meta(), run_folder.BEST)

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        """In this context the weights are the averaged ones, if there are any."""
        raise NotImplementedError

    def _write_samples(self) -> None:
        """Draw samples.png, if there is a folder and the objective makes pictures."""
        if self.folder is None or type(self.objective).pictures is Objective.pictures:
            return
        with self._averaged(), self.objective.evaluating(), no_grad(), numerics(self.recipe):
            rows = self.objective.pictures(np.random.default_rng((self.recipe.seed, 4)))
        if not rows:
            return
        mean, std = np.asarray(self.recipe.mean), np.asarray(self.recipe.std)
        with replacing(self.folder / "samples.png") as path:
            title = f"{run_folder.short_name(self.recipe.data)}, step {self.step}"
            image_rows({name: images * std + mean for name, images in rows.items()}, title, path)

    def _not_finite(self, where: str, step: int) -> NonFiniteError:
        """The error that ends the run."""
        saved = self.folder and (self.folder / run_folder.LAST).exists()
        kept = f"the checkpoint in {self.folder} is from an earlier step; " if saved else ""
        if not step:
            return NonFiniteError(f"NaN or infinity in {where} before the first update: check the starting weights")
        return NonFiniteError(
            f"step {step}: NaN or infinity, first in {where}; {kept}try again with a lower --lr or --clip-norm"
        )

    def draw(self) -> None:
        """Write curves.png, and complete metrics.jsonl."""
        if self._metrics_behind:
            self._write_metrics()
        if self.folder and self.metrics:
            with replacing(self.folder / "curves.png") as path:
                title = f"{run_folder.short_name(self.recipe.data)}, {self.total_steps} steps"
                learning_curves(self.metrics, title, path, self.recipe.minimised)

    def restore(self) -> None:
        """Continue from the folder's checkpoint, if there is one; metrics written after it are dropped.

        Updates the data's place and the run's length in config.json. Raises CheckpointError with a list of what does
        not fit, or if another process trains this run, DataError if the data has changed; then nothing is changed.
        """
        found = self.ranks.first(self._restorable)
        if found:
            states, meta = found
            for name, part in self.parts.items():
                part.load_state_dict(states[name])
            self.step, self.tally, self.metrics = meta["step"], Tally(meta["sums"]), meta["metrics"]
        self.ranks.first(self._continue)

    def _restorable(self) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]] | None:
        """State and metadata of the folder's checkpoint, after checking that they fit; None if there is none yet."""
        assert self.folder is not None
        with run_folder.one_writer(self.folder, self.warn):
            path = self.folder / run_folder.LAST
            self._version = run_folder.version(self.folder)
            if path.exists():
                states, meta = run_folder.read_checkpoint(path)
            elif self.recipe.needs_files:
                again = "start anew with --config"
                raise CheckpointError(f"{self.folder} was stopped before its weights were saved: {again}")
            else:
                return None
        check_match(
            {name: np.shape(x) for name, x in self.flat_state().items()},
            {f"{name}/{key}": array for name, state in states.items() for key, array in state.items()},
            str(path),
        )
        self._check_data(meta, path)
        if meta["step"] > self.total_steps:
            raise CheckpointError(f"{self.folder} has done {meta['step']} steps, more than {self.total_steps}")
        return states, meta

    def _continue(self) -> None:
        """Bring the run's other files to the state that was restored."""
        assert self.folder is not None
        with run_folder.one_writer(self.folder, self.warn):
            if run_folder.version(self.folder) != self._version:
                raise CheckpointError(f"{self.folder} has changed while it was read: another process trains it")
            run_folder.write_metrics(self.folder, self.metrics)
            run_folder.record_changes(self.folder, self.recipe)

    def _check_data(self, meta: dict[str, Any], path: Path) -> None:
        """Raise DataError unless the training data are the checkpoint's."""
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
