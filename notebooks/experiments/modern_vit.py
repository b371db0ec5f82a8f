"""From the ViT of 2020 to a modern one, one swap at a time, at equal work: accuracy and loss on CIFAR-10.

Notebook 25 discusses them. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.modern_vit

About 25 minutes of one core. Writes results/modern_vit.json after every run; started again, it goes on where it was.
All models of a seed see the same images in the same order, each image once. The learning rate is the best one for the
model of 2020, on training images that it was not trained on; all others use it too. The control is the model of 2020
with other initial parameters. Where a swap adds or removes tokens, the width of the MLP makes up for it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from experiments import record
from experiments.rates import best_rate, next_rate

from minivit import functional as F
from minivit.data import Augment, Dataset, eval_batches, load
from minivit.lessons import fit
from minivit.lineage.modern import Modern
from minivit.lineage.modern_config import ModernConfig
from minivit.tensor import no_grad

SEEDS = 6
STEPS = 400
BATCH = 32  # images, so 12,800 in all
TEST = 4_000  # images
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)  # to choose from
START = 2e-3  # tried first
FIT = {"batch_size": BATCH, "weight_decay": 0.05, "warmup": 0.1, "clip_norm": 1.0}
SHAPE = {"image_size": 32, "patch_size": 4, "width": 48, "depth": 3, "heads": 2, "num_classes": 10}
OF_2020 = {"class_token": True, "classifier": "token", "position": "learned", "mlp_width": 192}
SWAPS: dict[str, dict[str, Any]] = {
    "ViT of 2020": {},
    "drawn anew": {},  # the control: the same model, other initial parameters
    "RMSNorm": {"norm": "rms"},
    "SwiGLU": {"mlp": "swiglu", "mlp_width": 128},
    "RoPE": {"position": "none", "rope": "axial", "rope_base": 100.0},
    "QK-norm": {"qk_norm": True},
    "LayerScale": {"layer_scale": 0.1},
    "mean pooling": {"class_token": False, "classifier": "gap", "mlp_width": 196},
    "registers": {"register_tokens": 4, "mlp_width": 168},
}
SWAPS["all"] = {name: value for swap in SWAPS.values() for name, value in swap.items()} | {"mlp_width": 116}


def config(swap: str) -> ModernConfig:
    """The model of 2020 with this swap."""
    return ModernConfig(**{**SHAPE, **OF_2020, **SWAPS[swap]})


def multiply_adds(c: ModernConfig) -> int:
    """Those of all matrix products of a forward pass for one image."""
    matrices = 2 if c.mlp == "gelu" else 3
    weights = 4 * c.width**2 + matrices * c.width * c.mlp_width
    block = c.num_tokens * weights + 2 * c.num_tokens**2 * c.width
    patches = (c.num_tokens - c.before) * c.patch_size[0] * c.patch_size[1] * c.channels * c.width
    return patches + c.depth * block + c.width * c.num_classes


def evaluate(model: Modern, data: Dataset) -> tuple[float, float]:
    """Accuracy and mean loss."""
    right, loss = 0, 0.0
    with no_grad():
        for images, labels in eval_batches(data, 500, Augment(data.image_size)):
            logits = model(images)
            right += int((logits.data.argmax(axis=1) == labels).sum())
            loss += float(F.cross_entropy(logits, labels).data) * len(labels)
    return right / len(data), loss / len(data)


def measure(swap: str, rate: float, seed: int, train: Dataset, test: Dataset) -> dict[str, float]:
    """Train on STEPS x BATCH images, and return accuracy and loss on the test images."""
    model = Modern(config(swap), seed + 1_000 * (swap == "drawn anew"))
    order = np.random.default_rng(seed).permutation(len(train))[: STEPS * BATCH]
    fit(model, train.subset(order), STEPS, lr=rate, seed=seed, **FIT)
    right, loss = evaluate(model, test.subset(np.arange(TEST)))
    return {"accuracy": round(right, 4), "loss": round(loss, 4)}


def run_all(results: dict[str, Any], train: Dataset, test: Dataset) -> Iterator[None]:
    """Fill `results` with what is missing; yields after every run."""
    order = np.random.default_rng(100).permutation(len(train))
    held_out, rest = train.subset(order[:TEST]), train.subset(order[TEST:])
    tried = results.setdefault("rates_tried", {})
    while (rate := next_rate(RATES, tried, START)) is not None:
        tried[str(rate)] = measure("ViT of 2020", rate, 100, rest, held_out)["accuracy"]
        yield
    for seed in range(SEEDS):  # outermost, so that all have as many runs, whenever this is stopped
        for swap in SWAPS:
            by_seed = results["results"].setdefault(swap, [])
            if len(by_seed) == seed:
                by_seed.append(measure(swap, best_rate(tried), seed, train, test))
                yield


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.modern_vit",
        "data": f"CIFAR-10 (JPEG copy), {STEPS * BATCH:,} training images, each seen once, and {TEST:,} test images",
        "config": {**SHAPE, **FIT, "steps": STEPS, "rates": RATES, "start": START, "of_2020": OF_2020, "swaps": SWAPS},
    }


def main() -> None:
    results = record.begin("modern_vit", header())
    for _ in run_all(results, load("cifar10"), load("cifar10", split="test")):
        record.write("modern_vit", results)


if __name__ == "__main__":
    main()
