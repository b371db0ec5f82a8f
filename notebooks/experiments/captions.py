"""Images and sentences in one space: CLIP on drawn scenes of one shape, asked about combinations that it has not seen.

Section 3 of Radford et al. 2021 (arXiv 2103.00020), in small. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.captions

About five minutes of one core. Writes results/captions.json after every run; started again, it goes on where it was.
Training shows 64 combinations of kind, colour and place; sixteen are held out. An image is classified by the nearest
sentence: of a held-out combination among the sixteen sentences about these, and among all 80; of a combination that was
trained, in new images, among the 64. The controls: captions that were shuffled among the images before training, and a
scale of the similarities that stays 1.
"""

from typing import Any

import numpy as np
from experiments import record

from minivit.data import Augment, Scenes
from minivit.data import scenes_words as words
from minivit.lineage import clip
from minivit.lineage.matching import share_found
from minivit.models import ViTConfig
from minivit.optim import AdamW, warmup_cosine
from minivit.update.batch import Batch
from minivit.update.step import step

RUNS: dict[str, dict[str, Any]] = {
    "captions": {},
    "shuffled": {},
    "scale 1": {"scale": 1.0, "learn_scale": False},
}
SEEDS = 5
IMAGES, TESTED = 10_000, 1_000  # of training, and of each test
STEPS, BATCH = 500, 128
ASKED = (50, 100, 200, 350, 500)  # steps after which it is tested
RATE = 2e-3
VIT = {"image_size": 32, "patch_size": 8, "width": 64, "depth": 3, "heads": 2, "mlp_width": 128}
TEXT = {"width": 64, "depth": 2, "heads": 2, "mlp_width": 128, "shared": 64}
TOKENS = 9  # of a sentence about one shape


def pairs(count: int, seed: int, combinations: str) -> Batch:
    """Images of one shape and what is said of them."""
    columns = Scenes(count, seed, 32, (1, 1), combinations=combinations).columns(range(count), ("images", "caption"))
    return {"images": Augment((32, 32))(columns["images"]), "caption": columns["caption"][:, :TOKENS]}


def tested(objective: clip.CLIP, seen: Batch, held_out: Batch) -> dict[str, float]:
    """The shares of images that find their sentence."""
    every = words.about_one()[:, :TOKENS]
    return {
        "held out, of 16": share_found(objective, held_out, np.unique(held_out["caption"], axis=0)),
        "held out, of 80": share_found(objective, held_out, every),
        "seen, of 64": share_found(objective, seen, np.unique(seen["caption"], axis=0)),
    }


def measure(name: str, seed: int) -> dict[str, Any]:
    """Train one of `RUNS`: what is found after the steps of `ASKED`, and the loss, the scale e^s and the share of pairs
    whose sentence is repeated in their batch."""
    config = clip.CLIPConfig(**TEXT, vocabulary=len(words.WORDS), context=words.CAPTION, end=words.END, **RUNS[name])
    objective = clip.CLIP(config, ViTConfig(**VIT, num_classes=0), seed)
    train, rng = pairs(IMAGES, 10 * seed, "train"), np.random.default_rng(seed)
    tests = pairs(TESTED, 10 * seed + 1, "train"), pairs(TESTED, 10 * seed + 1, "held-out")
    if name == "shuffled":
        train["caption"] = rng.permutation(train["caption"])
    optimizer = AdamW(
        objective.named_parameters(), warmup_cosine(RATE, STEPS, STEPS // 10), betas=(0.9, 0.98), weight_decay=0.1
    )
    found: dict[str, Any] = {"steps": []}
    results = []
    for i in range(STEPS):
        some = rng.permutation(IMAGES)[:BATCH]
        batch = {key: x[some] for key, x in train.items()}
        batch |= objective.draw(batch, i, rng)
        results.append(step(objective.train(), optimizer, batch, 1.0, seed=(seed, i)))
        if i + 1 in ASKED:
            shares = {key: round(share, 4) for key, share in tested(objective, *tests).items()}
            scale = round(float(np.exp(objective.log_scale.data[0])), 3)
            found["steps"].append({"step": i + 1, "loss": round(results[-1].loss, 4), "scale": scale, **shares})
    found["loss"] = round(float(np.mean([result.loss for result in results[-50:]])), 4)
    found["repeated"] = round(float(np.mean([result.means["repeated"] for result in results])), 4)
    return found


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    config = {"images": IMAGES, "tested": TESTED, "steps": STEPS, "batch": BATCH, "rate": RATE, "tokens": TOKENS}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.captions",
        "data": "drawn scenes of one shape, 32x32 pixels",
        "config": {**config, "asked": ASKED, "vit": VIT, "text": TEXT, "runs": RUNS},
    }


def main() -> None:
    record.complete("captions", header(), SEEDS, RUNS, measure)


if __name__ == "__main__":
    main()
