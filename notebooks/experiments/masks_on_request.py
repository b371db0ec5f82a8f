"""The mask of a click, when a click may mean two things: three answers against one, and against a hidden click.

Sections 2 and 3 of Kirillov et al. 2023 (arXiv 2304.02643), in small. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.masks_on_request

Writes results/masks_on_request.json after every run; started again, it goes on where it was. Every scene has a shape
inside another, and one or two beside them. A click in the inner shape may mean either: tests ask for both. Every run
is the preset scenes-sam, which trains three masks, with prompts of one to three clicks. Controls: one mask alone, and
clicks that are hidden. In a further run the score of the best mask alone learns, as the library's default has it. A
test begins with one click. Each further one corrects the answer with the best score, where most of its pixels are
wrong.
"""

import itertools
from typing import Any

import numpy as np
from experiments import record

from minivit.backend import to_numpy
from minivit.data import Augment
from minivit.data.scenes import Scenes, load_nested
from minivit.lineage.sam import SAM, overlaps, somewhere
from minivit.lineage.sam_decoder import prompts
from minivit.runs.presets import preset
from minivit.runs.recipes import complete
from minivit.runs.trainer import Trainer
from minivit.tensor import no_grad

RUNS: dict[str, dict[str, Any]] = {
    "three": {},
    "single": {"objective": {"single": True}},
    "blind": {"objective": {"blind": True}},
    "best scored": {"objective": {"scored": "best"}},
}
SEEDS = 3
SCENES, TESTED = 10_000, 500  # of training, and of the test
CLICKS = 3
SIDE = 16  # of an answer
EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 2.0)  # between which predicted scores are collected
MEANT = ("clear", "outer", "inner")  # what a click is about: a shape with no other at the click, or one of two


def examples(scenes: Scenes, seed: int) -> dict[str, np.ndarray]:
    """Of every scene a clear click, and one in the inner shape that means first the outer, then the inner one.

    images (B, 32, 32, 3); clicks (B, 3, 2) as (x, y) pixels; target (B, 3, 16, 16) booleans, as large as answers."""
    columns, rng = scenes.arrays(range(len(scenes)), ("images", "whole")), np.random.default_rng((seed, 34))
    whole, each = columns["whole"], np.arange(len(scenes))[:, None]
    alone = whole & (whole.sum(axis=1, keepdims=True) == 1)
    exists = alone.any(axis=(2, 3)) * (0.5 + rng.random(whole.shape[:2]))
    exists[:, 1] = 0  # the inner shape is never clear
    clear = exists.argmax(axis=1)[:, None]
    both = whole[:, :1] & whole[:, 1:2] & (whole.sum(axis=1, keepdims=True) == 2)
    assert both.any(axis=(2, 3)).all()
    place = somewhere(np.concatenate([alone[each, clear], both], axis=1), rng)[:, [0, 1, 1]]
    target = np.concatenate([whole[each, clear], whole[:, :2]], axis=1)
    target = target.reshape(len(scenes), 3, SIDE, scenes.size // SIDE, SIDE, -1).mean(axis=(3, 5)) >= 0.5
    clicks = np.stack([place % scenes.size, place // scenes.size], axis=-1).astype(np.float32)
    return {"images": Augment((scenes.size,) * 2)(columns["images"]), "clicks": clicks, "target": target}


def answers(sam: SAM, images: np.ndarray, clicks: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks (B, P, M, h, w) as logits, and scores (B, P, M).   clicks: (B, P, n, 2), kinds: (B, P, n)."""
    points, kinds = prompts(clicks, kinds, None)
    if sam.config.blind:
        points, kinds = points * 0, kinds * 0 - 1
    own = slice(0, 1) if sam.config.single else slice(1, None)
    found = []
    with no_grad():
        for start in range(0, len(images), 50):
            some = slice(start, start + 50)
            both = sam.answer(sam.network.tensor(images[some]), points[some], kinds[some])
            found.append([to_numpy(x.data[:, :, own]) for x in both])
    masks, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return masks, scores


def worst_place(said: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The wrong place with the most wrong places within two of it, and whether it belongs to the target.

    said, target: (B, P, h, w) booleans -> clicks (B, P, 2) as (x, y) of the image, kinds (B, P). Without an error: in
    the target."""
    wrong = said != target
    wrong = np.where(wrong.any(axis=(2, 3), keepdims=True), wrong, target)
    height, width = wrong.shape[2:]
    framed = np.pad(wrong, ((0, 0), (0, 0), (2, 2), (2, 2))).astype(int)
    near = sum(framed[:, :, y : y + height, x : x + width] for y in range(5) for x in range(5))
    place = np.where(wrong, near, -1).reshape(*wrong.shape[:2], -1).argmax(axis=2)
    kinds = np.take_along_axis(target.reshape(*wrong.shape[:2], -1), place[..., None], axis=2)[..., 0]
    pixels = (np.stack([place % width, place // width], axis=-1) + 0.5) * (32 / SIDE) - 0.5
    return pixels.astype(np.float32), kinds.astype(np.int64)


def tested(sam: SAM, asked: dict[str, np.ndarray]) -> dict[str, Any]:
    """What clicks find. For each number of clicks: "iou" of the mask with the best score and "oracle", of the best
    mask, for each of `MEANT`; "first" is the share of prompts in which they are the same. After one click: "score", the
    mean score and IoU of the answer for each of `MEANT`, and between two `EDGES`: number, mean score, mean IoU."""
    images, clicks, target = asked["images"], asked["clicks"][:, :, None], asked["target"]
    kinds, found = np.ones(clicks.shape[:3], np.int64), {}
    sam.eval()
    for n in range(1, CLICKS + 1):
        masks, scores = answers(sam, images, clicks, kinds)
        iou, best = overlaps(masks, target), scores.argmax(axis=-1)[..., None]
        chosen = np.take_along_axis(iou, best, axis=2)[..., 0]
        score = np.take_along_axis(scores, best, axis=2)[..., 0]
        found[str(n)] = {
            kind: {
                "iou": float(chosen[:, i].mean()),
                "oracle": float(iou[:, i].max(axis=-1).mean()),
                "score": float(score[:, i].mean()),
                "first": float((chosen[:, i] >= iou[:, i].max(axis=-1)).mean()),
            }
            for i, kind in enumerate(MEANT)
        }
        if n == 1:
            sorts = {"clear": [0], "ambiguous": [1, 2]}
            bins = {sort: calibrated(score[:, own], chosen[:, own]) for sort, own in sorts.items()}
        said = np.take_along_axis(masks, best[..., None, None], axis=2)[:, :, 0] > 0
        place, kind = worst_place(said, target)
        clicks = np.concatenate([clicks, place[:, :, None]], axis=2)
        kinds = np.concatenate([kinds, kind[..., None]], axis=2)
    return {"clicks": found, "calibration": bins}


def pictures(sam: SAM, asked: dict[str, np.ndarray], count: int = 4) -> dict[str, Any]:
    """What an ambiguous click finds in the first scenes: masks as hexadecimal digits, a bit for a pixel, and scores."""
    clicks = asked["clicks"][:count, 2:, None]
    masks, scores = answers(sam, asked["images"][:count], clicks, np.ones(clicks.shape[:3], np.int64))
    said = [[np.packbits(mask > 0).tobytes().hex() for mask in scene] for scene in masks[:, 0]]
    return {"masks": said, "scores": scores[:, 0].tolist()}


def unpacked(digits: str, side: int = SIDE) -> np.ndarray:
    """A mask from its hexadecimal digits, as `pictures` writes them: (side, side) booleans."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8)).reshape(side, side).astype(bool)


def calibrated(score: np.ndarray, iou: np.ndarray) -> list[list[float]]:
    """Between two `EDGES` each: how many scores, their mean, and the mean IoU."""
    place = np.digitize(score, EDGES[1:-1])
    groups = [(score[place == i], iou[place == i]) for i in range(len(EDGES) - 1)]
    return [[len(s), float(s.mean()), float(x.mean())] if len(s) else [0, 0.0, 0.0] for s, x in groups]


def trained(name: str, seed: int, steps: int | None = None) -> tuple[SAM, list[dict[str, Any]]]:
    """One of `RUNS`, trained, and what its evaluations found."""
    train, test = load_nested("train", SCENES, seed), load_nested("test", TESTED, 100 + seed)
    chosen: dict[str, Any] = preset("scenes-sam")
    steps = steps or chosen["steps"]
    chosen = {**chosen, "seed": seed, "workers": 1, "steps": steps, "eval_every": steps}
    for part, fields in RUNS[name].items():
        chosen[part] = {**chosen[part], **fields}
    trainer = Trainer(complete(chosen, train), train, test, None)
    for _ in trainer.run():
        pass
    assert isinstance(trainer.objective, SAM)
    return trainer.objective, trainer.metrics


def rounded(value: Any) -> Any:
    """All numbers in a result, with four digits."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value


def tests(seed: int) -> Scenes:
    """The scenes on which the runs of a seed are tested."""
    return load_nested("test", TESTED, 200 + seed)


def measure(name: str, seed: int) -> dict[str, Any]:
    """Train one of `RUNS` and test it: see `tested`. Also what the evaluations of the run found, by their step."""
    sam, metrics = trained(name, seed)
    kept = ("step", "train_loss", "test_loss", "test_iou", "test_oracle")
    asked = examples(tests(seed), seed)
    found = tested(sam, asked)
    if seed == 0:
        found["pictures"] = pictures(sam, asked)
    return rounded({**found, "training": [{key: row[key] for key in kept} for row in metrics]})


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    config = {"preset": "scenes-sam", **preset("scenes-sam"), "scenes": SCENES, "tested": TESTED}
    config |= {"edges": EDGES, "clicks": CLICKS, "side": SIDE, "meant": MEANT}
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.masks_on_request",
        "data": "drawn scenes of 32x32 pixels: a shape in another, and one or two more",
        "config": {**config, "runs": RUNS},
    }


def main() -> None:
    results = record.begin("masks_on_request", header())
    first, last = tuple(RUNS)[:3], tuple(RUNS)[3:]
    for names in (first, last):
        for seed, name in itertools.product(range(SEEDS), names):
            by_seed = results["results"].setdefault(name, [])
            if len(by_seed) <= seed:
                by_seed.append(measure(name, seed))
                record.write("masks_on_request", results)


if __name__ == "__main__":
    main()
