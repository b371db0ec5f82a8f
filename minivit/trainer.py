"""The training loop: one step, then many, with evaluation, checkpoints and exact resumption.

Everything random is a function of (seed, step): batches, augmentation, dropout masks. So the state of a run is its
step number, parameters, optimiser state and averages, and a resumed run ends bit for bit like an uninterrupted one.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minivit import functional as F
from minivit import runs
from minivit.backend import Array, asarray, to_numpy
from minivit.backend.workers import Workers, available_cores, keep_freed_memory
from minivit.data import Dataset, Loader, eval_batches
from minivit.errors import CheckpointError, NonFiniteError
from minivit.models import ViT
from minivit.nn import Module
from minivit.optim import EMA, SGD, AdamW, clip_by_global_norm, warmup_cosine, warmup_linear
from minivit.optim.schedules import Schedule
from minivit.plots import learning_curves
from minivit.recipes import Recipe
from minivit.tensor import Tensor, grad, no_grad, watch

LossFunction = Callable[[Tensor, Array], Tensor]


@dataclasses.dataclass(frozen=True)
class StepResult:
    """Mean loss and share of right answers over the batch, norm of its gradient before clipping."""

    loss: float
    accuracy: float
    grad_norm: float


def step(
    model: Module,
    optimizer: AdamW | SGD,
    images: np.ndarray,
    labels: np.ndarray,
    loss_function: LossFunction = F.cross_entropy,
    clip_norm: float | None = None,
    workers: Workers | None = None,
    accumulate: int = 1,
    seed: tuple[int, ...] = (0,),
) -> StepResult:
    """One update of the model on one batch.

    images: (B, height, width, C) float; labels: (B,) class numbers or (B, K) probabilities. The batch is cut into
    `accumulate` pieces per worker, whose gradients are added up: the gradient of the mean loss over the whole batch,
    in less memory. seed: of the dropout masks of this step.
    Raises NonFiniteError, before anything is changed, naming the first tensor that is NaN or infinite.
    """
    workers = workers or Workers(1)
    parameters = optimizer.parameters
    pieces = [p for p in np.array_split(np.arange(len(images)), accumulate * workers.count) if len(p)]

    def forward_backward(i: int) -> tuple[float, int, list[Array]]:
        piece = pieces[i]
        rng = np.random.default_rng((*seed, i))
        logits = model(images[piece], rng=rng)
        loss = loss_function(logits, like_parameters(labels[piece], parameters[0]))
        weight = np.asarray(len(piece) / len(images), loss.dtype)
        gradients = grad(loss, parameters, like_parameters(weight, parameters[0]))  # of the piece's share of the mean
        return float(weight) * loss.item(), count_correct(logits.data, labels[piece]), gradients

    def share_of(worker: int) -> tuple[float, int, list[Array]]:
        total, correct, gradients = forward_backward(worker)
        for i in range(worker + workers.count, len(pieces), workers.count):
            loss, right, more = forward_backward(i)
            total, correct = total + loss, correct + right
            for g, extra in zip(gradients, more, strict=True):
                g += extra
        return total, correct, gradients

    shares = workers.map(share_of, range(min(workers.count, len(pieces))))
    loss = sum(share[0] for share in shares)
    gradients = shares[0][2]
    for _, _, more in shares[1:]:
        for g, extra in zip(gradients, more, strict=True):
            g += extra
    clipped, norm = clip_by_global_norm(gradients, clip_norm or math.inf)
    if not math.isfinite(loss + norm):
        raise NonFiniteError(first_non_finite(model, optimizer, images, gradients, forward_backward, len(pieces)))
    optimizer.step(clipped)
    return StepResult(loss, sum(share[1] for share in shares) / len(images), norm)


def like_parameters(x: np.ndarray, parameter: Tensor) -> Array:
    """`x` on the device of the parameters, its dtype kept."""
    return x if isinstance(parameter.data, np.ndarray) else asarray(x, "cupy")


def count_correct(logits: Array, labels: np.ndarray) -> int:
    """How many rows have their largest logit at their (most probable) label."""
    truth = labels if labels.ndim == 1 else labels.argmax(axis=-1)
    return int((to_numpy(logits).argmax(axis=-1) == truth).sum())


def first_non_finite(
    model: Module,
    optimizer: AdamW | SGD,
    images: np.ndarray,
    gradients: list[Array],
    forward_backward: Callable[[int], Any],
    pieces: int,
) -> str:
    """Where NaN or infinity first appeared in a step: inputs, parameters, a tensor of the forward pass, a gradient."""
    named = [("the input images", images)]
    named += [(f"parameter {name}", p.data) for name, p in zip(optimizer.names, optimizer.parameters, strict=True)]
    for name, array in named:
        if not np.isfinite(to_numpy(array)).all():
            return f"{name} {array.shape} is not finite"
    found: list[str] = []

    def look(op: str, inputs: Any, output: Tensor) -> None:
        if not found and not np.isfinite(to_numpy(output.data)).all():
            shapes = ", ".join(str(getattr(value, "shape", value)) for value in inputs)
            names = [value.name for value in inputs if isinstance(value, Tensor) and value.name]
            found.append(f"the output of {op}({shapes}){' with ' + ', '.join(names) if names else ''} is not finite")

    with watch(look):
        for i in range(pieces):
            forward_backward(i)
    for name, g in zip(optimizer.names, gradients, strict=True):
        if not found and not np.isfinite(to_numpy(g)).all():
            found.append(f"the gradient of {name} {g.shape} is not finite")
    return found[0] if found else "the loss or the gradient norm overflowed in the sum over the batch"


def evaluate(model: ViT, dataset: Dataset, recipe: Recipe, workers: Workers, batch_size: int = 256) -> dict[str, float]:
    """Mean loss and accuracy of the model, in evaluation mode, over a data set: {"loss", "accuracy", "images"}."""
    model.eval()
    loss_function = F.sigmoid_cross_entropy if recipe.loss == "sigmoid" else F.cross_entropy
    total, correct, count = 0.0, 0, 0

    def judge(piece: tuple[np.ndarray, np.ndarray]) -> tuple[float, int]:
        images, labels = piece
        with no_grad():
            logits = model(images)
            loss = loss_function(logits, like_parameters(labels, model.norm.scale))
        return loss.item() * len(images), count_correct(logits.data, labels)

    for images, labels in eval_batches(dataset, batch_size, recipe.augment.evaluation()):
        parts = min(workers.count, len(images))
        pieces = zip(np.array_split(images, parts), np.array_split(labels, parts), strict=True)
        for loss, right in workers.map(judge, pieces):
            total, correct = total + loss, correct + right
        count += len(images)
    model.train()
    return {"loss": total / max(1, count), "accuracy": correct / max(1, count), "images": count}


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

    The folder must hold the run's config.json already (`runs.create`). Raises DataError, ConfigError, BackendError or
    CheckpointError, each in one line.
    """

    def __init__(self, recipe: Recipe, train_data: Dataset, test_data: Dataset | None, folder: Path | None):
        self.recipe, self.train_data, self.test_data, self.folder = recipe, train_data, test_data, folder
        self.steps_per_epoch = max(1, len(train_data) // recipe.batch_size)
        self.total_steps = recipe.steps or max(1, round(recipe.epochs * self.steps_per_epoch))
        self.model = ViT(recipe.model, seed=recipe.seed, dtype=recipe.precision).to(recipe.backend).train()
        self.optimizer = make_optimizer(recipe, self.model, self.total_steps)
        self.ema = EMA(self.model.named_parameters(), recipe.ema) if recipe.ema else None
        self.step = 0
        self.metrics: list[dict[str, Any]] = []
        self.stop_requested = False
        self._sums = [0.0, 0]  # training loss since the last evaluation, and over how many steps

    def run(self) -> Iterator[Progress]:
        """Train to the end, or until `stop_requested`, and save; yields after every step."""
        keep_freed_memory()
        recipe = self.recipe
        eval_every = recipe.eval_every or self.steps_per_epoch
        smooth = {} if recipe.loss == "sigmoid" else {"label_smoothing": recipe.label_smoothing}
        loss_of = F.sigmoid_cross_entropy if recipe.loss == "sigmoid" else F.cross_entropy
        loader = Loader(
            self.train_data,
            recipe.batch_size,
            recipe.augment,
            seed=recipe.seed,
            start_step=self.step,
            total_steps=self.total_steps,
            mixup=recipe.mixup,
            cutmix=recipe.cutmix,
        )
        with Workers(recipe.workers or available_cores()) as workers, loader:
            begin, seen = time.perf_counter(), 0
            for images, labels in loader:
                lr = self.optimizer.current_lr()
                try:
                    result = step(
                        self.model,
                        self.optimizer,
                        images,
                        labels,
                        lambda logits, targets: loss_of(logits, targets, **smooth),
                        recipe.clip_norm,
                        workers,
                        recipe.accumulate,
                        seed=(recipe.seed, 2, self.step),
                    )
                except NonFiniteError as error:
                    raise NonFiniteError(f"step {self.step}: {error}; {self._last_checkpoint()}") from None
                if self.ema:
                    self.ema.update()
                self.step += 1
                self._sums = [self._sums[0] + result.loss, self._sums[1] + 1]
                seen += len(images)
                rate = seen / (time.perf_counter() - begin)
                metrics = None
                last = self.step == self.total_steps
                if self.step % eval_every == 0 or last:
                    metrics = self._evaluate(workers, lr, rate)
                    begin, seen = time.perf_counter(), 0
                if last or self.stop_requested or self.step % (recipe.checkpoint_every or eval_every) == 0:
                    self.save()
                if last or self.stop_requested:
                    self.draw()
                yield Progress(self.step, result.loss, result.accuracy, rate, metrics)
                if self.stop_requested:
                    return

    def _evaluate(self, workers: Workers, lr: float, rate: float) -> dict[str, Any]:
        """Measure, and add a line to metrics.jsonl."""
        test: dict[str, Any] = {"loss": None, "accuracy": None}
        if self.test_data is not None:
            if self.ema:
                with self.ema.swapped():
                    test = evaluate(self.model, self.test_data, self.recipe, workers)
            else:
                test = evaluate(self.model, self.test_data, self.recipe, workers)
        line = {
            "step": self.step,
            "epoch": round(self.step / self.steps_per_epoch, 4),
            "train_loss": self._sums[0] / max(1, self._sums[1]),
            "test_loss": test["loss"],
            "test_accuracy": test["accuracy"],
            "lr": lr,
            "images_per_second": round(rate, 1),
        }
        self._sums = [0.0, 0]
        self.metrics.append(line)
        if self.folder:
            with open(self.folder / "metrics.jsonl", "a") as file:
                file.write(json.dumps(line) + "\n")
        return line

    def _last_checkpoint(self) -> str:
        if self.folder and (self.folder / "checkpoint.npz").exists():
            return f"the last checkpoint is in {self.folder}; try a lower --lr or --clip-norm"
        return "try a lower --lr or --clip-norm"

    def save(self) -> None:
        """Write checkpoint.npz, replacing the old one only once the new one is complete."""
        if self.folder is not None:
            meta = {"step": self.step, "sums": self._sums, "metrics": self.metrics, "classes": self.train_data.classes}
            runs.write_checkpoint(self.folder, {name: part.state_dict() for name, part in self._parts()}, meta)

    def draw(self) -> None:
        """Write curves.png."""
        if self.folder and self.metrics:
            learning_curves(self.metrics, f"{self.recipe.data}, {self.total_steps} steps", self.folder / "curves.png")

    def restore(self) -> None:
        """Continue from the folder's checkpoint, if it has one yet; metrics written after it are taken back."""
        assert self.folder is not None
        path = self.folder / "checkpoint.npz"
        if path.exists():
            states, meta = runs.read_checkpoint(path)
            for name, part in self._parts():
                try:
                    part.load_state_dict(states.get(name, {}))
                except (KeyError, ValueError) as error:
                    raise CheckpointError(f"{path} does not fit this run: {name} state, {error}") from error
            self.step, self._sums, self.metrics = meta["step"], meta["sums"], meta["metrics"]
        lines = "".join(json.dumps(line) + "\n" for line in self.metrics)
        (self.folder / "metrics.jsonl").write_text(lines)

    def _parts(self) -> list[tuple[str, Any]]:
        """What a checkpoint holds the state of."""
        parts = [("model", self.model), ("optimizer", self.optimizer), ("ema", self.ema)]
        return [(name, part) for name, part in parts if part is not None]


def make_optimizer(recipe: Recipe, model: ViT, total_steps: int) -> AdamW | SGD:
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
