"""What a ViT learns from a teacher that is no transformer: DeiT on 5,000 images of CIFAR-10.

Tables 2 and 3 of Touvron et al. 2020 (arXiv 2012.12877), in small. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.distillation

About 20 minutes of one core. Writes results/distillation.json after every run; started again, it goes on where it was.
The teacher is a small ResNet, trained on the same images. Students see as many images, in the same order, by the same
recipe: alone, with the teacher's answers soft or hard, and as controls with the hard answers of the untrained teacher
and of a student that was trained alone. Images are mirrored and no more. So there are two of each, the teacher's
answers are computed once, and a run costs as much with a teacher as without.
"""

from typing import Any

import numpy as np
from experiments import record

from minivit.data import Augment, Dataset, Loader, load
from minivit.lessons import accuracy
from minivit.lineage.deit import DeiT, DeiTConfig, answer
from minivit.models import ResNet, ResNetConfig, ViT, ViTConfig
from minivit.nn import Module
from minivit.optim import AdamW, warmup_cosine
from minivit.tensor import Tensor, no_grad
from minivit.update.objective import Classification, Objective
from minivit.update.step import step

SEEDS = 5
IMAGES = 5_000  # to learn from
BATCH = 64
RESNET: dict[str, Any] = {"units": (1, 1, 1), "width": 8, "groups": 8, "root": "3x3"}
VIT: dict[str, Any] = {"patch_size": 8, "width": 64, "depth": 4, "heads": 4, "mlp_width": 128}
IMAGE = {"image_size": 32, "num_classes": 10}
TEACHER = {"steps": 600, "rate": 5e-3}
STUDENT = {"steps": 1_500, "rate": 2e-3}
MIXING = {"label_smoothing": 0.0, "mixup": 0.0, "cutmix": 0.0}
RUNS: dict[str, dict[str, Any]] = {
    "alone": {"distillation": "none"},
    "soft": {"distillation": "soft", "alpha": 0.1, "tau": 3.0},  # as in the paper
    "hard": {"distillation": "hard"},
    "hard, untrained": {"distillation": "hard"},
    "hard, another ViT": {"distillation": "hard"},
}


class Remembered(Module):
    """A teacher that computes its answer to an image once.   (B, height, width, C) -> (B, K)."""

    def __init__(self, teacher: Module):
        self.teacher, self.config, self.known = teacher, teacher.config, {}

    def forward(self, images: np.ndarray) -> Tensor:
        keys = [image.tobytes() for image in images]
        if new := [i for i, key in enumerate(keys) if key not in self.known]:
            self.known |= zip((keys[i] for i in new), self.teacher(images[new]).data, strict=True)
        return Tensor(np.stack([self.known[key] for key in keys]))


def train(objective: Objective, images: Dataset, steps: int, rate: float, seed: int) -> None:
    """Change the objective's networks in place."""
    optimizer = AdamW(objective.train().named_parameters(), warmup_cosine(rate, steps, steps // 10))
    augment = Augment(images.image_size, flip=True)
    with Loader(images, BATCH, augment, objective, total_steps=steps, seed=seed) as batches:
        for i, batch in enumerate(batches):
            step(objective, optimizer, batch, 1.0, seed=(seed, i))
    objective.eval()


def resnet(seed: int) -> ResNet:
    """A ResNet that has learned nothing, but whose head, unlike the library's, has something to say."""
    model = ResNet(ResNetConfig(**RESNET, **IMAGE), seed)
    kernel = model.head.weight.data
    kernel[...] = np.random.default_rng(seed).normal(size=kernel.shape) / len(kernel) ** 0.5
    return model


def student(name: str, teacher: Module | None, seed: int) -> DeiT:
    """One of `RUNS`, untrained."""
    shape = ViTConfig(**VIT, **IMAGE, distillation_token=teacher is not None)
    return DeiT(DeiTConfig(**RUNS[name], **MIXING), ViT(shape, seed), teacher and Remembered(teacher))


def look(objective: DeiT, teacher: Module, test: Dataset) -> dict[str, Any]:
    """Accuracy of what a student answers, and of its heads; how often these agree with the teacher, any teacher; the
    cosine of its two tokens, before the blocks and after each, a mean over images."""
    heads, cosines = [], []
    augment, labels = Augment(test.image_size), np.asarray(test.labels)
    for start in range(0, len(test), 250):
        images = augment(test.fetch(np.arange(start, start + 250))[0])
        with no_grad():
            tap: dict[str, Any] = {}
            outputs = objective.heads(images, tap=tap)
            heads.append([x.data.argmax(axis=-1) for x in (answer(outputs), *outputs, teacher(images))])
            between = [objective.model.embed(Tensor(images))]
            between += [tap[f"block{i}/output"] for i in range(VIT["depth"])]
        cosines.append([cosine(x.data[:, 0], x.data[:, 1]) for x in between])
    whole, of_class, of_distillation, says = (np.concatenate(parts) for parts in zip(*heads, strict=True))
    return {
        "accuracy": share(whole == labels),
        "class_accuracy": share(of_class == labels),
        "distillation_accuracy": share(of_distillation == labels),
        "class_agrees": share(of_class == says),
        "distillation_agrees": share(of_distillation == says),
        "cosines": [round(float(x), 4) for x in np.mean(cosines, axis=0)],
    }


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    """Of each row of x with that of y, the mean.   (B, D), (B, D)."""
    return float(np.mean((x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))))


def share(right: np.ndarray) -> float:
    """Of images, in four digits."""
    return round(float(np.mean(right)), 4)


def measure(results: dict[str, Any], seed: int, data: Dataset, test: Dataset) -> None:
    """All runs of one seed that are not there yet; the teachers are trained in any case."""
    found = results["results"]
    images = data.subset(np.random.default_rng(seed).permutation(len(data))[:IMAGES])
    untrained, teacher = resnet(seed), resnet(seed)
    train(Classification(teacher), images, **TEACHER, seed=seed)
    alone = student("alone", None, seed)
    train(alone, images, **STUDENT, seed=seed)
    teachers = {"hard, untrained": untrained.eval(), "hard, another ViT": alone.model}
    note(found, "teacher", seed, {"accuracy": round(accuracy(teacher, test), 4)})
    note(found, "alone", seed, {"accuracy": round(accuracy(alone.model, test), 4)})
    for name in list(RUNS)[1:]:
        if len(found.get(name, [])) == seed:
            taught = teachers.get(name, teacher)
            objective = student(name, taught, seed)
            train(objective, images, **STUDENT, seed=seed)
            note(found, name, seed, look(objective, taught, test))
        record.write("distillation", results)


def note(found: dict[str, list], name: str, seed: int, what: dict[str, Any]) -> None:
    """Keep what one run has brought, if it is new."""
    if len(found.setdefault(name, [])) == seed:
        found[name].append(what)


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    config = {"images": IMAGES, "batch": BATCH, "resnet": RESNET, "vit": VIT, "teacher": TEACHER, "student": STUDENT}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.distillation",
        "data": "CIFAR-10",
        "config": {**config, "image": IMAGE, "runs": RUNS, **MIXING},
    }


def main() -> None:
    results = record.begin("distillation", header())
    train_data, test = load("cifar10"), load("cifar10", split="test")
    for seed in range(SEEDS):  # outermost, so that all have as many runs, whenever this is stopped
        if any(len(results["results"].get(name, [])) <= seed for name in RUNS):
            measure(results, seed, train_data, test)


if __name__ == "__main__":
    main()
