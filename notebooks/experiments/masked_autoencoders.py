"""What pre-training by masked patches is worth on CIFAR-10: a linear probe by share of masked patches, and fine-tuning
on few labels against training from scratch.

Figures 5 and 8 of He et al. 2021 (arXiv 2111.06377), in small. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.masked_autoencoders

About 20 minutes of one core. Writes results/masked_autoencoders.json after every run; started again, it goes on where
it was.
The probe is ridge regression from the mean of the patches' last features to the classes, on the images of pre-training
with their labels; its penalty is chosen on a fifth of them. Its controls: the same probe of the untrained encoder, and
of the pixels. Fine-tuning and training from scratch see the same few labels; the longer training from scratch takes as
much time as pre-training and fine-tuning together. The learning rates are chosen on other training images.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from experiments import record
from experiments.rates import best_rate

from minivit.data import Augment, Dataset, Loader, load
from minivit.lessons import accuracy, fit
from minivit.lineage import mae
from minivit.models import ViT, ViTConfig
from minivit.optim import AdamW, warmup_cosine
from minivit.tensor import no_grad
from minivit.update.objective import Objective
from minivit.update.step import step

SEEDS = 3
IMAGES = 10_000  # of pre-training and of the probe
TESTED = 5_000  # images
LABELS = 1_000  # of fine-tuning
MASKED = {"25 %": 0.25, "75 %": 0.75, "90 %": 0.9}
STEPS = 500  # of pre-training, with 128 images
TUNED = {"75 %": 150, "scratch": 150, "scratch, longer": 500}  # steps with labels, of 64 images; the last takes as much
# time as the first with its pre-training
RATE = 4e-3  # of pre-training; of 1e-3, 2e-3 and this, the one with the smallest loss after 150 steps
RATES = (5e-4, 1e-3, 2e-3)  # of what has labels, to choose from
VIT = {"image_size": 32, "patch_size": 4, "width": 96, "depth": 4, "heads": 3, "mlp_width": 192}
DECODER = {"width": 64, "depth": 1, "heads": 2, "mlp_width": 128}
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the probe, times the variance of a feature

ToFeatures = Callable[[np.ndarray], np.ndarray]


def autoencoder(masked: float, seed: int) -> mae.MAE:
    """A masked autoencoder that has seen nothing."""
    return mae.MAE(mae.MAEConfig(masked, **DECODER), ViT(ViTConfig(**VIT, num_classes=0), seed), seed)


def pretrain(
    objective: Objective,
    images: Dataset,
    steps: int,
    seed: int,
    rate: float = RATE,
    beta: float = 0.95,
    size: int = 128,
) -> list[float]:
    """Train in place; the loss of every step.   beta: Adam's second; size: of a batch."""
    rates = warmup_cosine(rate, steps, steps // 10)
    optimizer = AdamW(objective.named_parameters(), rates, betas=(0.9, beta), weight_decay=0.05)
    losses, augment = [], Augment(images.image_size, flip=True)
    with Loader(images, size, augment, objective, total_steps=steps, seed=seed) as batches:
        for i, batch in enumerate(batches):
            losses.append(step(objective.train(), optimizer, batch, 1.0, accumulate=4, seed=(seed, i)).loss)
    return losses


def features(encoder: ViT) -> ToFeatures:
    """The mean of the patches' last features, of all patches of an image: (B, height, width, C) -> (B, D)."""

    def of(images: np.ndarray) -> np.ndarray:
        tap: dict[str, Any] = {}
        with no_grad(), encoder.evaluating():
            encoder(images, tap=tap)
        return tap["encoded"].data[:, 1:].mean(axis=1)

    return of


def pixels(images: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, (B, height / 2 * width / 2 * C)."""
    batch, height, width, channels = images.shape
    return images.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4)).reshape(batch, -1)


def table(of: ToFeatures, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The features (N, D) in float64 and the labels (N,) of a data set."""
    augment = Augment(data.image_size)
    parts = []
    for start in range(0, len(data), 250):
        images, _ = data.fetch(np.arange(start, min(start + 250, len(data))))
        parts.append(of(augment(images)))
    return np.concatenate(parts).astype(float), np.asarray(data.labels)


def ridge(x: np.ndarray, labels: np.ndarray, penalty: float) -> Callable[[np.ndarray], np.ndarray]:
    """Least squares to one-hot labels; what it returns names the class of other rows."""
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-12
    z, wanted = (x - mean) / deviation, np.eye(10)[labels]
    weight = np.linalg.solve(z.T @ z / len(z) + penalty * np.eye(z.shape[1]), z.T @ (wanted - wanted.mean(0)) / len(z))
    return lambda rows: (((rows - mean) / deviation) @ weight + wanted.mean(0)).argmax(axis=1)


def probe(of: ToFeatures, known: Dataset, test: Dataset) -> float:
    """Accuracy on the test images of a linear classifier on features of the known ones."""
    (x, labels), (asked, truth) = table(of, known), table(of, test)
    held_out = np.arange(len(x)) % 5 == 0
    right = [
        np.mean(ridge(x[~held_out], labels[~held_out], p)(x[held_out]) == labels[held_out]) for p in PENALTIES
    ]  # fmt: skip
    return float(np.mean(ridge(x, labels, PENALTIES[int(np.argmax(right))])(asked) == truth))


def classifier(encoder: ViT) -> ViT:
    """A classifier of the mean over patches that starts from an encoder; its last LayerNorm is new, as published."""
    more = {"num_classes": 10, "classifier": "gap", "class_token": True, "fc_norm": True}
    model = ViT(dataclasses.replace(encoder.config, **more), 0)
    old = encoder.state_dict()
    given = {name: x for name, x in old.items() if not name.startswith("norm.")}
    model.load_state_dict({**model.state_dict(), **given})
    return model


def finetune(encoder: ViT, few: Dataset, test: Dataset, rate: float, steps: int, seed: int) -> float:
    """Train a classifier that starts from an encoder, and return its accuracy on the test images."""
    model = classifier(encoder)
    augment = Augment(few.image_size, flip=True, crop_padding=2)
    fit(model, few, steps, batch_size=64, lr=rate, augment=augment, seed=seed)
    return accuracy(model, test)


class Data:
    """The images of one seed.   images: of pre-training and of the probe; few: those with labels; others: on which
    learning rates are chosen; test."""

    def __init__(self, train: Dataset, test: Dataset, seed: int):
        order = np.random.default_rng(seed).permutation(len(train))
        self.images = train.subset(order[:IMAGES])
        self.few = self.images.limit(LABELS, seed)
        self.others = train.subset(order[IMAGES : IMAGES + 2_000])
        self.test = test.subset(np.arange(TESTED))


def tuned(encoder: ViT, data: Data, steps: int, tried: dict[str, float], seed: int) -> float:
    """The accuracy after training on few labels, at the rate that is best on other images, chosen once into `tried`."""
    for rate in RATES:
        if str(rate) not in tried:
            tried[str(rate)] = round(finetune(encoder, data.few, data.others, rate, steps, 100), 4)
    rate = best_rate(tried)
    return finetune(encoder, data.few, data.test, rate, steps, seed)


def measure(name: str, data: Data, rates: dict[str, Any], seed: int) -> dict[str, float]:
    """What is to be known of one of `runs`, with one seed."""
    tried = rates.setdefault(name, {}) if name in TUNED else {}
    if name == "pixels":
        return {"probe": probe(pixels, data.images, data.test)}
    if name in MASKED:
        objective, begin = autoencoder(MASKED[name], seed), time.process_time()
        losses = pretrain(objective, data.images, STEPS, seed)
        found = {"seconds": time.process_time() - begin, "loss": float(np.mean(losses[-50:]))}
        found["probe"] = probe(features(objective.encoder), data.images, data.test)
        if name in TUNED:
            found["tuned"] = tuned(objective.encoder, data, TUNED[name], tried, seed)
        return found
    encoder, begin = autoencoder(0.75, seed).encoder, time.process_time()
    if name == "untrained":
        return {"probe": probe(features(encoder), data.images, data.test)}
    return {"tuned": tuned(encoder, data, TUNED[name], tried, seed), "seconds": time.process_time() - begin}


def runs() -> list[str]:
    """Controls, shares of masked patches, trainings with labels."""
    return list(dict.fromkeys(["pixels", "untrained", *MASKED, *TUNED]))


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    config = {"images": IMAGES, "tested": TESTED, "labels": LABELS, "steps": STEPS, "batch": 128, "rate": RATE}
    shape = {"vit": VIT, "decoder": DECODER, "masked": MASKED}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.masked_autoencoders",
        "data": "CIFAR-10",
        "config": {**config, "tuned": TUNED, "tuned_batch": 64, "rates": RATES, "penalties": PENALTIES, **shape},
    }


def main() -> None:
    results = record.begin("masked_autoencoders", header())
    rates = results.setdefault("rates_tried", {})
    train, test = load("cifar10"), load("cifar10", split="test")
    for seed in range(SEEDS):
        missing = [name for name in runs() if len(results["results"].setdefault(name, [])) == seed]
        data = Data(train, test, seed) if missing else None
        for name in missing:
            found = measure(name, data, rates, seed)
            results["results"][name].append({kind: round(value, 4) for kind, value in found.items()})
            record.write("masked_autoencoders", results)


if __name__ == "__main__":
    main()
