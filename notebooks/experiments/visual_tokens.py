"""What an encoder learns from hidden patches, by what it has to say about them: visual tokens, mean colours, pixels.

BEiT (arXiv 2106.08254), the ViT paper's masked patch prediction (arXiv 2010.11929, B.1.2) and SimMIM (arXiv
2111.09886) in small, on CIFAR-10. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.visual_tokens

About 20 minutes of one core. Writes results/visual_tokens.json after every run; started again, it goes on where it was.
All runs have the same ViT with rotary positions, one has learned absolute ones. SimMIM hides squares of 4, 8 and 16
pixels, and once its loss counts all patches. Measured on test images, for hidden patches: how often the network names
the token or the colour, or its error in pixels. Controls: the same for a constant, for a copy of the nearest visible
patch, and for a smooth fill. "probe" is the accuracy of ridge regression from the mean of the patches' features,
"tuned" that after training on few labels. Controls: the probe of the untrained encoder and of the pixels, and training
from scratch on the same labels.
"""

import dataclasses
from typing import Any

import numpy as np
from experiments import record
from experiments.masked_autoencoders import Data, features, finetune, pixels, pretrain, probe

from minivit.data import Augment, Dataset, load
from minivit.lineage import masked_patch
from minivit.lineage.beit import BEiT, BEiTConfig
from minivit.lineage.masked_tokens import MaskedTokens
from minivit.lineage.pictures import unpatchify
from minivit.lineage.simmim import SimMIM, SimMIMConfig
from minivit.models import ViT, ViTConfig
from minivit.nn import patchify
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch

SEEDS = 3
STEPS = 300  # of pre-training
BATCH = 32  # images of a step of pre-training
TUNED = 100  # steps with labels, of 64 images
PROBED = 3_000  # images of the probe
TESTED = 2_000  # images
ASKED = 500  # test images of which patches are hidden
RATE, RATE_TUNED = 2e-3, 2e-3
VIT = {"image_size": 32, "patch_size": 4, "width": 96, "depth": 4, "heads": 3, "mlp_width": 192}


class EveryPatch(SimMIM):
    """SimMIM whose loss counts all patches."""

    def weights(self, mask: np.ndarray) -> np.ndarray:
        return super().weights(np.ones_like(mask))


SYSTEMS: dict[str, Any] = {
    "tokens": (BEiT, BEiTConfig(vocabulary=64, block=4), "rope"),
    "colours": (masked_patch.MaskedPatch, masked_patch.MaskedPatchConfig(), "rope"),
    "pixels, squares of 4": (SimMIM, SimMIMConfig(unit=4), "rope"),
    "pixels, squares of 8": (SimMIM, SimMIMConfig(unit=8), "rope"),
    "pixels, squares of 16": (SimMIM, SimMIMConfig(unit=16), "rope"),
    "pixels, loss on all": (EveryPatch, SimMIMConfig(unit=8), "rope"),
    "tokens, learned positions": (BEiT, BEiTConfig(vocabulary=64, block=4), "learned"),
}


def objective_of(name: str, seed: int) -> MaskedTokens:
    """A system that has seen nothing."""
    kind, config, position = SYSTEMS[name]
    return kind(config, ViT(ViTConfig(**VIT, num_classes=0, position=position), seed), seed)


def hidden(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Patches that are scored, and those that show the image, (B, N) each."""
    if "kind" in batch:
        return batch["kind"] == masked_patch.MASK, batch["kind"] == 0
    return batch["mask"], ~batch["mask"]


def squared_distances(rows: int, columns: int) -> np.ndarray:
    """Of any two places of a grid."""
    y, x = np.mgrid[:rows, :columns].reshape(2, -1)
    return np.square(y[:, None] - y) + np.square(x[:, None] - x)


def copied(patches: np.ndarray, visible: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Every patch becomes the nearest visible one.   patches: (B, N, n), visible: (B, N)."""
    far = np.where(visible[:, None, :], squared_distances(*grid), np.inf)
    return np.take_along_axis(patches, far.argmin(axis=-1)[:, :, None], axis=1)


def smooth(images: np.ndarray, visible: np.ndarray, patch: int) -> np.ndarray:
    """Every pixel becomes the mean of the visible ones, weighted by 1 / squared distance."""
    batch, height, width, channels = images.shape
    seen = visible.reshape(batch, height // patch, -1).repeat(patch, axis=1).repeat(patch, axis=2)[..., None]
    near = (1 / np.maximum(squared_distances(height, width), 1)).astype(np.float32)
    total = near @ np.concatenate([images * seen, seen], axis=3).reshape(batch, -1, channels + 1)
    return (total[..., :channels] / total[..., channels:]).reshape(images.shape)


def score(objective: MaskedTokens, batch: Batch, guess: np.ndarray | None = None) -> float:
    """Of the network, or of guessed patches (B, N, P P C): the share of hidden patches whose token or colour is right,
    or the mean error of their pixels in units of a pixel (0 to 255)."""
    scored, _ = hidden(batch)
    if isinstance(objective, SimMIM):
        guess = objective.paint(batch)[1] if guess is None else guess
        true = patchify(Tensor(batch["images"]), objective.patch).data
        return float(np.abs(guess - true)[scored].mean() * 127.5)
    wanted = answers(objective, batch["images"])
    if guess is None:
        with no_grad(), objective.evaluating():
            said = objective(batch)[0].data.argmax(axis=-1).reshape(wanted.shape)
    else:
        said = answers(objective, unpatchify(guess, objective.network.config))
    return float((said == wanted)[scored].mean())


def answers(objective: MaskedTokens, images: np.ndarray) -> np.ndarray:
    """The token or the colour of every patch, (B, N)."""
    if isinstance(objective, masked_patch.MaskedPatch):
        return objective.colours(np.rint(127.5 * (images + 1)).clip(0, 255))[..., 0]
    return objective.tokens_of({"images": images})


def constant(objective: MaskedTokens, known: np.ndarray, batch: Batch) -> dict[str, float]:
    """The score of the best constant answer, chosen on other images (B, height, width, C). For classes also the entropy
    of their shares in nats, which is the loss of the best constant prediction."""
    if isinstance(objective, SimMIM):
        middle = np.median(known.reshape(-1, known.shape[-1]), axis=0)
        shape = patchify(Tensor(batch["images"]), objective.patch).data.shape
        return {"constant": score(objective, batch, np.broadcast_to(np.tile(middle, shape[-1] // len(middle)), shape))}
    shares = np.bincount(answers(objective, known).ravel()) / answers(objective, known).size
    right = answers(objective, batch["images"])[hidden(batch)[0]] == shares.argmax()
    return {"constant": float(right.mean()), "entropy": float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())}


def judge(objective: MaskedTokens, known: Dataset, test: Dataset) -> dict[str, float]:
    """The scores of the network and of the controls on test images, the same patches hidden."""
    augment = Augment(test.image_size)
    images, others = (augment(data.fetch(np.arange(min(ASKED, len(data))))[0]) for data in (test, known))
    batch: dict[str, Any] = {"images": images, **objective.draw({"images": images}, 0, np.random.default_rng(0))}
    side = objective.network.config.patch_size
    patches, (_, visible) = patchify(Tensor(images), side).data, hidden(batch)
    return {
        "network": score(objective, batch),
        "nearest": score(objective, batch, copied(patches, visible, objective.grid)),
        "smooth": score(objective, batch, patchify(Tensor(smooth(images, visible, side[0])), side).data),
        **constant(objective, others, batch),
    }


def measure(name: str, data: Data, seed: int) -> dict[str, float]:
    """What is to be known of one of `runs`, with one seed."""
    found: dict[str, float] = {}
    if name == "scratch":
        encoder = objective_of("colours", seed).encoder
        found["pixels"] = probe(pixels, data.images.limit(PROBED, seed), data.test)
    else:
        objective = objective_of(name, seed)
        encoder = objective.encoder
        objective.begin(data.images, Augment(data.images.image_size), seed)
        losses = pretrain(objective, data.images, STEPS, seed, RATE, beta=0.98, size=BATCH)
        found = {"loss": float(np.mean(losses[-50:])), **judge(objective, data.images, data.test)}
        if SYSTEMS[name][2] == "learned":
            return found
    found["probe"] = probe(features(encoder), data.images.limit(PROBED, seed), data.test)
    return found | {"tuned": finetune(encoder, data.few, data.test, RATE_TUNED, TUNED, seed)}


def runs() -> list[str]:
    """The control, then what is pre-trained."""
    return ["scratch", *SYSTEMS]


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    config = {
        "steps": STEPS,
        "batch": BATCH,
        "tuned": TUNED,
        "probed": PROBED,
        "tested": TESTED,
        "asked": ASKED,
        "rate": RATE,
        "rate_tuned": RATE_TUNED,
        "vit": VIT,
        "systems": {
            name: system and [system[0].__name__, dataclasses.asdict(system[1]), system[2]]
            for name, system in SYSTEMS.items()
        },
    }
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.visual_tokens",
        "data": "CIFAR-10: 10,000 images of pre-training, 1,000 labels of fine-tuning",
        "config": config,
    }


def main() -> None:
    results = record.begin("visual_tokens", header())
    train, test = load("cifar10"), load("cifar10", split="test")
    for seed in range(SEEDS):
        missing = [name for name in runs() if len(results["results"].setdefault(name, [])) == seed]
        data = Data(train, test, seed) if missing else None
        for name in missing:
            data.test = test.subset(np.arange(TESTED))
            found = measure(name, data, seed)
            results["results"][name].append({kind: round(value, 4) for kind, value in found.items()})
            record.write("visual_tokens", results)


if __name__ == "__main__":
    main()
