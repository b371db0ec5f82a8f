"""A program for several processes: each objective's steps, and whole runs, shared by all ranks; rank 0 also does the
same alone and compares. Its output is one line of JSON for each comparison."""

import dataclasses
import json
import sys
import warnings

import numpy as np
import standin_cupy
from test_contract import BATCH, NAMES, STEPS, loader, tiny

from minivit.backend import to_numpy
from minivit.backend.workers import Workers
from minivit.data import load
from minivit.models import ViTConfig
from minivit.optim import EMA, SGD
from minivit.ranks import Ranks, launch
from minivit.runs.evaluation import evaluate, neighbours
from minivit.runs.recipes import Recipe
from minivit.runs.trainer import Trainer
from minivit.update.device import DeviceStep
from minivit.update.step import step

KINDS = ("classification", "compares", "state")  # of objectives, as far as sums are concerned
VIT = {"patch_size": 2, "width": 16, "depth": 2, "heads": 2, "mlp_width": 24}
RECIPE = Recipe(
    model=ViTConfig(image_size=8, channels=1, num_classes=10, dropout=0.1, drop_path=0.1, **VIT),
    batch_size=12, steps=100, eval_every=100, crop_padding=1, mixup=0.2, cutmix=0.4, ema=0.9, workers=2, accumulate=2,
    lr=3e-3,
)  # fmt: skip
RUNS = {
    "digits": ("digits", RECIPE),
    "shapes": (
        "shapes",
        dataclasses.replace(
            RECIPE,
            model=ViTConfig(image_size=32, num_classes=10, **{**VIT, "patch_size": 8}),
            accumulate=1, randaugment=(1, 5), erasing=0.3, mixup=0.0,
            cutmix=0.0, workers=1, clip_norm=0.5, optimizer="sgd", lr=0.05,
        ),
    ),
}  # fmt: skip


class Recorder(SGD):
    """An optimiser that keeps the gradients it is given and changes nothing."""

    def step(self, grads=None, scale=1.0, workers=None):
        self.seen = [g.copy() for g in grads]


def one_step(name, ranks, workers, backend="numpy"):
    objective, data = tiny(name, "float64")
    objective.to(backend)
    batches = loader(objective, data, share=(ranks.rank, ranks.count))
    recorder = Recorder(objective.named_parameters())
    with Workers(workers) as pool:
        result = step(objective, recorder, batches.batch(1), None, pool, 2, (5, 6), ranks)
    state = np.concatenate([x.ravel() for x in objective.state_dict().values()])
    flat = np.concatenate([to_numpy(g).ravel() for g in recorder.seen])
    means = np.concatenate([np.ravel(x) for _, x in sorted(result.means.items())] or [[]])
    return {"loss": result.loss, "norm": result.grad_norm, "gradients": flat, "means": means, "state": state}


def evaluated(name, ranks):
    objective, data = tiny(name, "float64")
    recipe = Recipe(model=objective.encoder.config, precision="float64", batch_size=BATCH)
    with Workers(1) as workers:
        found = evaluate(objective, data, recipe, workers, 4, ranks=ranks)
        if objective.has_features and "labels" in data.COLUMNS:
            found["knn"] = neighbours(objective, data, data, recipe, workers, ranks)
    return found


def run(name, ranks, precision):
    data, recipe = RUNS[name]
    train, test = (load(data, split=split) for split in ("train", "test"))
    recipe = dataclasses.replace(recipe, precision=precision)
    trainer = Trainer(recipe, train.limit(200), test.limit(40), None, ranks=ranks)
    losses = [progress.loss for progress in trainer.run()]
    tests = [line["test_loss"] for line in trainer.metrics]
    return {"losses": np.array(losses), "test": np.array(tests)}


def by_host(name, ranks):
    """A step in float64 on the stand-in for CuPy, whose sums pass through the host."""
    with standin_cupy.installed():
        return one_step(name, ranks, 1, "cupy")


def on_gpus(name, ranks):
    """Steps of a DeviceStep on the stand-in for CuPy, the later ones recorded."""
    with standin_cupy.installed():
        objective, data = tiny(name)
        objective.to("cupy")
        batches = loader(objective, data, share=(ranks.rank, ranks.count))
        optimizer = SGD(objective.named_parameters(), 1e-2, 0.9, **objective.optimizer_options(STEPS))
        work = DeviceStep(objective, optimizer, 0.5, EMA(objective.named_parameters(), 0.9), 2, ranks=ranks)
        found = []
        with work.batches(batches) as given, Workers(1):
            for step_number, batch in enumerate(given):
                work.update(batch, seed=(5, step_number))
                result, _ = work.read()
                found.append([result.loss, result.grad_norm, *(x for _, x in sorted(result.means.items()))])
        assert work.recorded
        state = np.concatenate([x.ravel() for x in objective.state_dict().values()])
    return {"results": np.array(found), "state": state}


def difference(one, two):
    """The largest relative difference, by name; of an array, relative to its largest element."""

    def of(x, y):
        x, y = np.asarray(x, float), np.asarray(y, float)
        return float(np.max(np.abs(x - y), initial=0) / (np.max(np.abs(y), initial=0) or 1))

    assert one.keys() == two.keys(), (one.keys(), two.keys())
    return {name: of(one[name], two[name]) for name in one}


def main(kinds):
    warnings.filterwarnings("ignore", "the library cublasLt")
    with launch.joined() as ranks:
        for kind in kinds:
            work = {
                "steps": [(n, lambda r, n=n, w=w: one_step(n, r, w)) for n in NAMES for w in (1, 2)],
                "by the host": [(n, lambda r, n=n: by_host(n, r)) for n in KINDS],
                "on gpus": [(n, lambda r, n=n: on_gpus(n, r)) for n in KINDS],
                "evaluations": [(n, lambda r, n=n: evaluated(n, r)) for n in NAMES],
                **{f"{n} float64": [(n, lambda r, n=n: run(n, r, "float64"))] for n in RUNS},
                **{f"{n} float32": [(n, lambda r, n=n: run(n, r, "float32"))] for n in RUNS},
            }[kind]
            for name, of in work:
                together = of(ranks)
                if not ranks.rank:
                    print(json.dumps([kind, name, difference(together, of(Ranks()))]))


if __name__ == "__main__":
    main(sys.argv[1:])
