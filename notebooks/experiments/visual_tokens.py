"""What an encoder learns from hidden patches, by what it has to say about them: visual tokens, mean colours, pixels.

BEiT (arXiv 2106.08254), the ViT paper's masked patch prediction (arXiv 2010.11929, B.1.2) and SimMIM (arXiv
2111.09886) in small, on CIFAR-10. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.visual_tokens

Writes results/visual_tokens.json after every run; started again, it goes on where it was. All runs have the same ViT
with absolute positions. "fine-tuned" is the accuracy after training on few labels, "probe" that of ridge regression
from the mean of the patches' features. Controls: training from scratch on the same labels, the probe of the untrained
encoder, and the share of hidden tokens that the nearest visible patch has, too ("neighbour"). SimMIM hides squares of
4, 8 and 16 pixels: small ones can be filled in from their neighbours.
"""

import dataclasses
from typing import Any

import numpy as np
from experiments import record
from experiments.masked_autoencoders import Data, features, finetune, pretrain, probe

from minivit.data import Augment, Dataset, load
from minivit.lineage.beit import BEiT, BEiTConfig
from minivit.lineage.masked_patch import MaskedPatch, MaskedPatchConfig
from minivit.lineage.simmim import SimMIM, SimMIMConfig
from minivit.models import ViT, ViTConfig

SEEDS = 3
STEPS = 120  # of pre-training, with 128 images
TUNED = 80  # steps with labels, of 64 images
TESTED = 2_000  # images
RATE, RATE_TUNED = 2e-3, 1e-3
VIT = {"image_size": 32, "patch_size": 4, "width": 96, "depth": 4, "heads": 3, "mlp_width": 192}
TOKENS = BEiTConfig(vocabulary=64, block=4)
SYSTEMS: dict[str, Any] = {
    "tokens": (BEiT, TOKENS),
    "colours": (MaskedPatch, MaskedPatchConfig()),
    "pixels, squares of 4": (SimMIM, SimMIMConfig(unit=4)),
    "pixels, squares of 8": (SimMIM, SimMIMConfig(unit=8)),
    "pixels, squares of 16": (SimMIM, SimMIMConfig(unit=16)),
}
RUNS = ("scratch", *SYSTEMS)


def by_neighbours(objective: BEiT, images: Dataset) -> dict[str, float]:
    """The share of hidden tokens that the network names, and that the nearest visible patch has."""
    batch: dict[str, Any] = {"images": Augment(images.image_size)(images.fetch(np.arange(500))[0])}
    batch |= objective.draw(batch, 0, np.random.default_rng(0))
    objective.eval()
    named = float(objective.sums(objective(batch), batch)["token_accuracy"]) / 500
    rows, columns = objective.grid
    y, x = np.mgrid[:rows, :columns].reshape(2, -1)
    far = np.hypot(y[:, None] - y, x[:, None] - x) + np.where(batch["mask"], np.inf, 0)[:, None, :]
    tokens = objective.tokens_of(batch)
    copied = np.take_along_axis(tokens, far.argmin(axis=-1), axis=1)
    return {"token accuracy": named, "neighbour": float(((copied == tokens) * batch["weight"]).sum() / 500)}


def measure(name: str, data: Data, seed: int) -> dict[str, float]:
    """What is to be known of a run."""
    encoder, found = ViT(ViTConfig(**VIT, num_classes=0), seed), {}
    if name in SYSTEMS:
        kind, config = SYSTEMS[name]
        objective = kind(config, encoder, seed)
        objective.begin(data.images, Augment(data.images.image_size), seed)
        found["loss"] = float(np.mean(pretrain(objective, data.images, STEPS, seed, RATE, beta=0.98)[-25:]))
        if isinstance(objective, BEiT):
            found |= by_neighbours(objective, data.test)
    found["probe"] = probe(features(encoder), data.images.limit(3_000, seed), data.test)
    return found | {"fine-tuned": finetune(encoder, data.few, data.test, RATE_TUNED, TUNED, seed)}


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    systems = {name: dataclasses.asdict(config) for name, (_, config) in SYSTEMS.items()}
    config = {
        "steps": STEPS,
        "tested": TESTED,
        "tuned": TUNED,
        "rate": RATE,
        "rate_tuned": RATE_TUNED,
        "vit": VIT,
        "systems": systems,
    }
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.visual_tokens",
        "data": "CIFAR-10: 10,000 images of pre-training, 1,000 labels of fine-tuning, 2,000 test images",
        "config": config,
    }


def main() -> None:
    results = record.begin("visual_tokens", header())
    train, test = load("cifar10"), load("cifar10", split="test")
    for seed in range(SEEDS):
        missing = [name for name in RUNS if len(results["results"].setdefault(name, [])) == seed]
        data = Data(train, test, seed)
        data.test = data.test.subset(np.arange(TESTED))
        for name in missing:
            found = measure(name, data, seed)
            results["results"][name].append({kind: round(value, 4) for kind, value in found.items()})
            record.write("visual_tokens", results)


if __name__ == "__main__":
    main()
