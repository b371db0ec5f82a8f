"""Hidden patches, and the typical slips: for the judges of notebook 21."""

from collections.abc import Callable
from functools import partial

import numpy as np

KINDS = {"chosen": (1, 2, 3), "all": (0, 1, 2, 3), "masked": (1,), "changed": (1, 2), "others": (0,)}


def loss_of_chosen(
    z: np.ndarray,
    classes: np.ndarray,
    kind: np.ndarray,
    *,
    counted: str = "chosen",
    divided: str = "",
    shared: bool = False,
    by_image: bool = False,
    of_dz: float = 1.0,
    zeroed: bool = True,
) -> tuple:
    """The loss and dz.   counted: which kinds; divided: by the number of another group, "images" or "one"; shared: the
    kinds of the first image for all; by_image: each image has the same weight; zeroed: dz of what does not count."""
    counts = np.isin(kind[:1].repeat(len(kind), axis=0) if shared else kind, KINDS[counted])
    e = np.exp(z - z.max(axis=2, keepdims=True))
    p, hot = e / e.sum(axis=2, keepdims=True), np.eye(z.shape[2])[classes]
    sizes = {"images": len(kind), "one": 1, "all": kind.size, "": counts.sum()}
    weight = counts / (counts.sum(axis=1, keepdims=True) * len(kind) if by_image else sizes[divided])
    loss = -(np.log((p * hot).sum(axis=2)) * weight).sum()
    return loss, of_dz * (p - hot) * (weight if zeroed else 1 / counts.sum() + 0 * weight)[:, :, None]


def _part(of_loss: Callable, of_dz: Callable, z: np.ndarray, classes: np.ndarray, kind: np.ndarray) -> tuple:
    return of_loss(z, classes, kind)[0], of_dz(z, classes, kind)[1]


LOSS_SLIPS: dict[str, Callable] = {
    "The loss counts all patches. A patch that was not chosen can be read off its own token.": (
        partial(loss_of_chosen, counted="all")
    ),
    "Only [mask] tokens count here. All chosen patches do, whatever stands in their place.": (
        partial(loss_of_chosen, counted="masked")
    ),
    "Chosen patches that stay as they are count, too: the network does not know which these are.": (
        partial(loss_of_chosen, counted="changed")
    ),
    "Chosen patches and the others are exchanged: kind 0 is not chosen.": partial(loss_of_chosen, counted="others"),
    "Each image weighs the same here. The mean is over all chosen patches of the batch.": (
        partial(loss_of_chosen, by_image=True)
    ),
    "All images get the choice of the first one. Each has its own.": partial(loss_of_chosen, shared=True),
    "This is the sum over the chosen patches; the mean is asked.": partial(loss_of_chosen, divided="one"),
    "The sum over the chosen patches is divided by the number of images.": partial(loss_of_chosen, divided="images"),
    "The sum over the chosen patches is divided by the number of all patches.": partial(loss_of_chosen, divided="all"),
    "The loss is right. dz has the sign changed.": partial(loss_of_chosen, of_dz=-1.0),
    "The loss is right. Patches that were not chosen are in no term of it. What is their gradient?": (
        partial(loss_of_chosen, zeroed=False)
    ),
    "The loss is right. dz is that of a mean over all patches, also those that were not chosen.": (
        partial(_part, loss_of_chosen, partial(loss_of_chosen, counted="all"))
    ),
    "The loss is right. dz belongs to the sum over the patches, not to their mean.": (
        partial(_part, loss_of_chosen, partial(loss_of_chosen, divided="one"))
    ),
}


def _targets(image: np.ndarray, side: int, order: str) -> np.ndarray:
    """The patches of an image as rows.   order: the axes of a pixel, "crk" for channel, row, column."""
    height, width, channels = image.shape
    cut = image.reshape(height // side, side, width // side, side, channels)
    inside = {"r": 1, "k": 3, "c": 4}
    return cut.transpose(0, 2, *(inside[axis] for axis in order)).reshape(-1, side * side * channels)


def _reordered(rows: np.ndarray, image: np.ndarray, side: int) -> np.ndarray:
    """From (row, column, channel) to (channel, row, column)."""
    return rows.reshape(len(rows), side * side, image.shape[2]).transpose(0, 2, 1).reshape(rows.shape)


def _in_rows(rows: np.ndarray, image: np.ndarray, side: int) -> np.ndarray:
    """The inverse of `_reordered`."""
    return rows.reshape(len(rows), image.shape[2], side * side).transpose(0, 2, 1).reshape(rows.shape)


def pixel_loss(
    y: np.ndarray,
    image: np.ndarray,
    hidden: np.ndarray,
    side: int,
    *,
    order: str = "crk",
    normalised: bool = False,
    ddof: int = 1,
    counted: str = "hidden",
    divided: str = "",
    squared: bool = False,
    of_dy: float = 1.0,
) -> tuple:
    """The loss and dy.   ddof: of the variance of a normalised patch; counted: "hidden", "visible" or "all"; divided:
    by the pixels of "patches", "all" or "one"."""
    t = _targets(image, side, order)
    if normalised:
        t = (t - t.mean(axis=1, keepdims=True)) / np.sqrt(t.var(axis=1, keepdims=True, ddof=ddof) + 1e-6)
    counts = {"hidden": hidden, "visible": ~hidden, "all": hidden | True}[counted]
    size = {"": counts.sum() * y.shape[1], "patches": counts.sum(), "all": y.size, "one": 1}[divided]
    error = (y - t) * counts[:, None]
    if squared:
        return (error**2).sum() / size, of_dy * 2 * error / size
    return np.abs(error).sum() / size, of_dy * np.sign(error) / size


def _dy_in_rows(y: np.ndarray, image: np.ndarray, hidden: np.ndarray, side: int) -> tuple:
    loss, dy = pixel_loss(y, image, hidden, side)
    return loss, _in_rows(dy, image, side)


def _dy_of_sum(y: np.ndarray, image: np.ndarray, hidden: np.ndarray, side: int) -> tuple:
    return pixel_loss(y, image, hidden, side)[0], pixel_loss(y, image, hidden, side, divided="one")[1]


def _dy_everywhere(y: np.ndarray, image: np.ndarray, hidden: np.ndarray, side: int) -> tuple:
    loss, _ = pixel_loss(y, image, hidden, side)
    return loss, np.sign(y - _targets(image, side, "crk")) / (hidden.sum() * y.shape[1])


PIXEL_SLIPS: dict[str, Callable] = {
    "The pixels of a patch stand in the order of `patchify` here. Which index moves slowest in y?": (
        partial(pixel_loss, order="rkc")
    ),
    "Channels come first, as they should. After them come rows, then columns.": partial(pixel_loss, order="ckr"),
    "The targets are normalised by patch. SimMIM predicts the pixels as they are.": (
        partial(pixel_loss, normalised=True)
    ),
    "The targets are normalised by patch. SimMIM's are not: the pixels stay as they are.": (
        partial(pixel_loss, normalised=True, ddof=0)
    ),
    "The targets are normalised by patch, and stand in the order of `patchify`: both is MAE's way.": (
        partial(pixel_loss, normalised=True, order="rkc")
    ),
    "The targets are normalised by patch, as in MAE, and stand in the order of `patchify`.": (
        partial(pixel_loss, normalised=True, ddof=0, order="rkc")
    ),
    "The loss counts all patches. Visible ones could be copied.": partial(pixel_loss, counted="all"),
    "Visible and hidden patches are exchanged.": partial(pixel_loss, counted="visible"),
    "The sum over hidden pixels is divided by the number of all.": partial(pixel_loss, divided="all"),
    "The sum over hidden pixels is divided by the number of hidden patches only.": (
        partial(pixel_loss, divided="patches")
    ),
    "This is the sum over hidden pixels; the mean is asked.": partial(pixel_loss, divided="one"),
    "Absolute values are asked, not squares.": partial(pixel_loss, squared=True),
    "The loss is right. dy has the sign changed: a larger y above the target makes it worse.": (
        partial(pixel_loss, of_dy=-1.0)
    ),
    "The loss is right. dy stands in another order than y.": _dy_in_rows,
    "The loss is right. dy belongs to the sum, not to the mean.": _dy_of_sum,
    "The loss is right. Visible patches are in no term of it. What is their gradient?": _dy_everywhere,
}
