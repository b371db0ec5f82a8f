"""SAM, the Segment Anything Model (Kirillov et al. 2023, "Segment Anything", arXiv 2304.02643): the mask of what a
click or a box points at.

New against ViT: the answer depends on a prompt. A heavy encoder sees the image once, here ViTDet's, with a neck of two
convolutions (`minivit.lineage.sam_encoder`). A light decoder reads it for every prompt
(`minivit.lineage.sam_decoder`). A point (x, y), in shares u of the image, is

    [sin, cos](2 pi (2u - 1) G) + a vector for its kind,   G (2, E/2) drawn once,

and so is every place of the map, without the vector. One token for the score, four for masks and those of the prompt
read the image and are read by it, in two blocks. Each mask token becomes the kernel of a mask,

    mask_m = < MLP_m(token_m), enlarged map >.

A click in a disc on a square may mean either, so three masks answer, and the loss is that of the best,

    L = mean over prompts of  min_m (20 focal_m + dice_m) + (score_m* - IoU_m*)^2.

The fourth mask, the first in order, is for prompts that leave no doubt.

Source: facebookresearch/segment-anything, modeling/. No training code was published: the loss is read from the paper
(focal with alpha 0.25 and gamma 2, a mean over pixels; dice with + 1 above and below; no gradient for the true IoU).
Norms of the decoder's blocks have epsilon 1e-5; transformers computes with 1e-6 there. Against the paper: the further
clicks of a prompt are drawn, no round corrects an answer, and there is no dropout.

B batch, P prompts of an image, T tokens of a prompt, R x C map, E channels, M masks.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array, to_numpy, xp_of
from minivit.data import Dataset
from minivit.data.augment import draw_flips, flip
from minivit.data.scenes import load_scenes
from minivit.errors import ConfigError
from minivit.lineage.sam_decoder import NOT_A_POINT, MaskDecoder, PromptEncoder, SAMConfig, prompts
from minivit.lineage.sam_encoder import VARIANTS, ImageEncoder, SAMEncoderConfig
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch, size
from minivit.update.objective import Objective, Outputs

__all__ = ["PRESETS", "SAM", "SAMConfig"]

PARITY = "masks, scores, prompts, loss and gradients of published code, with points, boxes and masks as prompts"
PRESETS: dict[str, dict[str, Any]] = {
    "scenes-sam": {
        "data": "nested",
        "objective": {"name": "sam", "heads": 4, "mlp_width": 96, "iou_width": 48, "whole": True, "clicks": 3,
                      "spread": 0.25, "scored": "all"},
        "model": {"name": "sam", **VARIANTS["sam-mini"], "patch_size": 8, "window": 2},
        "batch_size": 32,
        "steps": 600,
        "lr": 3e-3,
        "flip": True,
        "eval_every": 300,
    },
}  # fmt: skip
CLICKS = 64  # decoded at once
WHITE = 100.0  # as a normalised pixel: outside of every range, and so clipped


class SAM(Objective):
    """Gives the masks of prompts.

    batch: images (B, height, width, C); points (B, P, T, 2) as (x, y) in pixels; kinds (B, P, T), see `PromptEncoder`;
    target (B, P, 4R, 4C) booleans. outputs: the logits of masks (B, P, M, 4R, 4C) and their scores (B, P, M).
    Of the random changes to images only the flip is made, to image and shapes alike.
    """

    Config: ClassVar[type] = SAMConfig
    columns = ("images", "instances", "whole")
    unheeded = ("crop_padding", "resized_crop", "randaugment", "erasing")

    def __init__(self, config: SAMConfig, encoder: ImageEncoder, seed: int | None = 0, dtype: str = "float32"):
        if not isinstance(encoder, ImageEncoder):
            raise ConfigError(f"SAM needs its encoder, such as --model sam-mini, not a {type(encoder).__name__}")
        self.config, self.network, shape = config, encoder, encoder.config
        if shape.filters % 8 or shape.filters // config.narrowing % config.heads:
            raise ConfigError(f"filters is {shape.filters}, expected a multiple of 8, and of {config.heads} heads")
        rng = None if seed is None else np.random.default_rng((seed, 1))
        self.prompt = PromptEncoder(config, shape.filters, rng, dtype)
        self.decoder = MaskDecoder(config, shape.filters, rng, dtype)

    @classmethod
    def build(cls, config: SAMConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        return cls(config, given.encoder(), given.seed, given.dtype)

    @property
    def encoder(self) -> ImageEncoder:
        return self.network

    def prepare(self, columns: Mapping[str, Any], augment: Any, rng: np.random.Generator | None) -> Batch:
        shapes = columns["whole" if self.config.whole else "instances"]
        batch = super().prepare({"images": columns["images"], "shapes": shapes}, augment.evaluation(), None)
        if rng is not None and augment.flip:
            mirrored = draw_flips(size(batch), rng)
            turned = flip(np.moveaxis(batch["shapes"], 1, -1), mirrored)
            batch = {"images": flip(batch["images"], mirrored), "shapes": np.moveaxis(turned, -1, 1)}
        return batch

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """P times a click in a shape that is seen, one of the shapes there, and its mask at the resolution of the
        answers. Further clicks lie inside it or in other shapes; a token that is no point stands for a missing one."""
        shapes, count, cell = batch["shapes"], self.config.prompts, self.network.config.patch_size / 4
        if cell % 1:
            raise ConfigError(f"patch_size is {self.network.config.patch_size}, expected a multiple of 4")
        images, number, height, width = shapes.shape
        each = np.arange(images)[:, None]
        seen = shapes.any(axis=(2, 3))[:, None] * (0.5 + rng.random((images, count, number)))
        places = [somewhere(shapes[each, seen.argmax(axis=2)], rng)]
        there = np.moveaxis(shapes, 1, -1)[each, places[0] // width, places[0] % width]
        chosen = shapes[each, (there * (0.5 + rng.random(there.shape))).argmax(axis=2)]
        others, kinds = shapes.any(axis=1)[:, None] & ~chosen, [np.ones((images, count), np.int64)]
        asked = rng.integers(1, self.config.clicks + 1, (images, count))
        for i in range(1, self.config.clicks):
            inside = rng.random((images, count)) < 0.5
            elsewhere = np.where(others.any(axis=(2, 3), keepdims=True), others, ~chosen)
            places.append(somewhere(np.where(inside[:, :, None, None], chosen, elsewhere), rng))
            kinds.append(np.where(i < asked, inside, NOT_A_POINT))
        place = np.stack(places, axis=-1)
        clicks = np.stack([place % width, place // width], axis=-1).astype(np.float32)
        points, labels = self.asked(clicks, np.stack(kinds, axis=-1))
        side = int(cell)
        tiles = chosen.reshape(images, count, height // side, side, width // side, side)
        return {"points": points, "kinds": labels, "target": tiles.mean(axis=(3, 5)) >= 0.5}

    def asked(self, clicks: Array, kinds: Array) -> tuple[Any, Any]:
        """Clicks (B, P, n, 2) of some kinds (B, P, n) as the decoder reads them, see `prompts`."""
        points, kinds = prompts(clicks, kinds, None)
        return (points * 0, kinds * 0 - 1) if self.config.blind else (points, kinds)

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        return self.trained(self.answer(self.tensor(batch["images"]), batch["points"], batch["kinds"], rng=rng))

    def trained(self, answers: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The masks that are trained, and their scores, among all."""
        own = slice(0, 1) if self.config.single else slice(1, None)
        return answers[0][:, :, own], answers[1][:, :, own]

    def answer(
        self, images: Tensor, points: Array, kinds: Array, prior: Tensor | None = None, rng: Rng = None, tap: Tap = None
    ) -> tuple[Tensor, Tensor]:
        """All masks (B, P, 1 + M, 4R, 4C), as logits, and their scores (B, P, 1 + M).

        prior: logits of masks from before, (B, Q, 4R, 4C), one for every prompt or, with Q = 1, for all of an image.
        """
        return self.decode(self.network.encode(images, tap, rng), points, kinds, prior, tap)

    def decode(
        self, image: Tensor, points: Array, kinds: Array, prior: Tensor | None = None, tap: Tap = None
    ) -> tuple[Tensor, Tensor]:
        """`answer` from a map (B, R, C, E)."""
        batch, rows, columns, width = image.shape
        patch = self.network.config.patch_size
        found = self.prompt.places(points, kinds, (rows * patch, columns * patch))
        none = F.broadcast_to(self.prompt.no_mask.reshape(1, 1, 1, 1, width), (batch, 1, rows, columns, width))
        dense = none if prior is None else self.prompt.masks(prior)
        mixed = image.reshape(batch, 1, rows, columns, width) + dense
        mixed = F.broadcast_to(mixed, (batch, found.shape[1], rows, columns, width))
        if tap is not None:
            tap.update(encoded=image, sparse=found, dense=dense)
        return self.decoder(mixed, found, self.prompt.grid(rows, columns), tap)

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        masks, scores = (x + 0.0 for x in outputs)  # + 0.0: what was bfloat16 is float32
        focal, dice = errors(masks, batch["target"])
        total = focal * 20 + dice
        xp = xp_of(masks.data)
        best = total.data.argmin(axis=-1)[..., None] == xp.arange(masks.shape[2])
        apart = scores - Tensor(self.like(overlaps(masks.data, batch["target"])))
        if self.config.scored == "all":
            return (total * Tensor(self.like(best))).sum(axis=-1).mean() + (apart * apart).mean()
        return ((total + apart * apart) * Tensor(self.like(best))).sum(axis=-1).mean()

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """iou: of the mask with the best score. oracle: of the best mask."""
        masks, scores = (x.data for x in outputs)
        found = overlaps(masks, batch["target"])
        first = scores.argmax(axis=-1)[..., None] == xp_of(found).arange(found.shape[-1])
        return {"iou": (found * first).sum(axis=-1).mean(axis=1).sum(), "oracle": found.max(axis=-1).mean(axis=1).sum()}

    def clicked(self, images: Array, points: Array) -> tuple[np.ndarray, np.ndarray]:
        found = []
        with no_grad(), self.evaluating():
            image = self.network.encode(self.tensor(images))
            for start in range(0, points.shape[1], CLICKS):
                clicks = points[:, start : start + CLICKS, None]
                asked = self.asked(clicks, np.ones(clicks.shape[:-1], np.int64))
                found.append([to_numpy(x.data) for x in self.trained(self.decode(image, *asked))])
        masks, scores = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        order = np.argsort(-scores, axis=2, kind="stable")
        masks = np.take_along_axis(masks > 0, order[..., None, None], axis=2)
        return masks, np.take_along_axis(scores, order, axis=2)

    def shown(self, batch: Batch, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """A click in each image, in the middle if no shapes are known, the mask that is meant, and those that answer,
        the one with the best score first."""
        images, true = batch["images"], {}
        points = np.full((len(images), 1, 2), [images.shape[2] // 2, images.shape[1] // 2], np.float32)
        if "shapes" in batch:
            drawn = self.draw(batch, 0, rng)
            points, true = drawn["points"][:, :1, 0], {"true mask": drawn["target"][:, 0]}
        masks = self.clicked(images, points)[0][:, 0]
        answers = {f"mask {i + 1}": masks[:, i] for i in range(masks.shape[1])}
        return {"click": marked(images, points[:, 0]), **true, **answers}


def marked(images: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Images with a white dot in a black square at points (B, 2)."""
    images, dot = images.copy(), max(1, images.shape[1] // 64)
    for image, (x, y) in zip(images, points.astype(int), strict=True):
        for side, value in ((2 * dot, -WHITE), (dot, WHITE)):
            image[max(0, y - side + 1) : y + side, max(0, x - side + 1) : x + side] = value
    return images


def somewhere(regions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The number of a pixel of every region, each as likely.   (B, P, height, width) booleans -> (B, P) int64."""
    lots = regions * (0.5 + rng.random(regions.shape))
    return lots.reshape(*regions.shape[:2], -1).argmax(axis=2)


def errors(masks: Tensor, target: Array) -> tuple[Tensor, Tensor]:
    """The focal and the dice error of every mask, (B, P, M) each.   masks: (B, P, M, h, w) logits, target: (B, P, h, w)
    booleans."""
    true = target[:, :, None].astype(masks.dtype)
    signed = masks * Tensor(2 * true - 1)
    loss = F.maximum(-signed, 0.0) + F.log(F.exp(-F.maximum(signed, -signed)) + 1)  # -log of the right answer's p
    wrong = F.sigmoid(-signed)
    focal = (Tensor(0.75 - 0.5 * true) * wrong * wrong * loss).mean(axis=(3, 4))
    p = F.sigmoid(masks)
    both, sides = (p * Tensor(true)).sum(axis=(3, 4)), p.sum(axis=(3, 4)) + Tensor(true.sum(axis=(3, 4)))
    return focal, 1 - (both * 2 + 1) / (sides + 1)


def overlaps(masks: Array, target: Array) -> Array:
    """The intersection over union of every mask, logits above 0, with its target: (B, P, M)."""
    said, true = masks > 0, target[:, :, None]
    return (said & true).sum(axis=(3, 4)) / (said | true).sum(axis=(3, 4)).clip(1)


def tiny(dtype: str = "float32") -> tuple[SAM, Dataset]:
    """The objective in small and 16 images, for tests."""
    shape = SAMEncoderConfig(
        image_size=16, patch_size=4, width=8, depth=2, heads=2, mlp_width=8, window=3, global_blocks=(1,), filters=16,
        drop_path=0.1,
    )  # fmt: skip
    config = SAMConfig(heads=2, mlp_width=8, iou_width=8, mask_channels=4)
    return SAM(config, ImageEncoder(shape, 0, dtype), 0, dtype), load_scenes("train", 16, size=16)
