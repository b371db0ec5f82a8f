"""The inside of a trained ViT as arrays: attention, its rollout and reach, positions, filters.

Pure functions of arrays, apart from the three that read a model. L layers, B batch, H heads, N tokens, P patches (rows
* columns of the grid, the last P of the N tokens), D width, C channels. The figures named are those of Dosovitskiy et
al. 2020.
"""

from collections.abc import Callable

import numpy as np

from minivit.backend import Array, to_numpy
from minivit.errors import ConfigError
from minivit.models.config import ViTConfig
from minivit.models.positions import patch_positions
from minivit.models.vit import ViT
from minivit.tensor import Tensor, no_grad


def attention_weights(
    model: ViT, images: np.ndarray, read: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """(L, B, H, N, N): every attention matrix of the model in evaluation mode, [..., i, j] what query i gives key j.

    images: (B, height, width, C), normalised as the model was trained. read: if given, what is kept of each layer's
    (B, H, N, N), (L, ...) in all: of large images the matrices of all layers together are gigabytes.
    """
    layers = _Layers(read)
    with model.evaluating(), no_grad():
        model.encode(model.embed(Tensor(model.like(images))), tap=layers)
    return np.stack(layers.kept)


class _Layers(dict[str, Tensor | Array]):
    """A tap that stores the result of `read` on each layer's attention weights, and nothing else."""

    def __init__(self, read: Callable[[np.ndarray], np.ndarray] | None):
        self.read, self.kept = read, list[np.ndarray]()

    def __setitem__(self, name: str, value: Tensor | Array) -> None:
        if name.endswith("/attention_weights"):
            weights = to_numpy(value)
            self.kept.append(weights if self.read is None else self.read(weights))


def rollout(attention: np.ndarray) -> np.ndarray:
    """(L, ..., H, N, N) -> (..., N, N): how much of token j of the input is in token i of the output.

    Attention rollout (Abnar and Zuidema 2020; Dosovitskiy et al. 2020, D.8, Figures 6 and 14): the mean over heads,
    half and half with the identity for the residual connection, multiplied through the layers. Rows sum to 1. It knows
    nothing of the values, the MLPs or the sizes of the two summands, so it pictures the mixing, not the causes.
    """
    identity = np.eye(attention.shape[-1], dtype=attention.dtype)
    mixed = identity
    for layer in attention:
        mixed = (layer.mean(axis=-3) + identity) / 2 @ mixed
    return mixed


def read_by_head(matrix: np.ndarray, config: ViTConfig) -> np.ndarray:
    """(..., N, N) -> (..., rows, columns): the weights of the patches in the input of the classification head.

    That is the [class] token's row, or the mean of its row and the distillation token's, if there is one; for a head
    that reads the mean over tokens, the mean over the rows of patches.
    """
    rows, columns = config.grid
    readers = slice(1 + config.distillation_token) if config.classifier == "token" else slice(-rows * columns, None)
    read = matrix[..., readers, -rows * columns :].mean(axis=-2)
    return read.reshape(*read.shape[:-1], rows, columns)


def patch_distances(grid: tuple[int, int], pitch: tuple[float, float]) -> np.ndarray:
    """(P, P): distance in pixels between the centres of every two patches.   pitch: pixels from one patch to the next,
    down and across."""
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    return np.hypot(pitch[0] * (rows[:, None] - rows), pitch[1] * (columns[:, None] - columns))


def attention_distance(attention: np.ndarray, config: ViTConfig) -> np.ndarray:
    """(..., N, N) -> (...): mean distance in pixels between a patch and what it attends to (D.7, Figures 7 and 11).

    For every patch as query, the mean of the distances to all patches weighted by attention; then the mean over
    queries. Tokens without a place, such as [class], are left out on both sides, and the weights of the patches
    brought back to a sum of 1 (a query that looks at no patch at all counts as 0).
    """
    patches = config.grid[0] * config.grid[1]
    weights = attention[..., -patches:, -patches:]
    total = weights.sum(axis=-1)
    reach = (weights * patch_distances(config.grid, patch_pitch(config))).sum(axis=-1)
    return (reach / np.maximum(total, np.finfo(weights.dtype).tiny)).mean(axis=-1)


def patch_pitch(config: ViTConfig) -> tuple[float, float]:
    """Pixels of the image from one token of the grid to the next, down and across."""
    (height, width), (rows, columns) = config.image_size, config.grid
    return height / rows, width / columns


def position_table(model: ViT) -> np.ndarray:
    """(P, D): the position embeddings of the patches. Raises ConfigError for a model without any."""
    rows, columns = model.config.grid
    with no_grad():
        table = model.position_embedding if model.config.position == "learned" else patch_positions(model)
    if table is None:
        raise ConfigError(f'the model has no position embeddings (position is "{model.config.position}")')
    return to_numpy(table.data).reshape(-1, model.config.width)[-rows * columns :]  # the last rows are the patches'


def cosine_similarity(table: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """(P, D) -> (rows, columns, rows, columns): the cosine of every two position embeddings (Figures 7 centre and 10).

    A row of zeros has cosine 0 with all.
    """
    length = np.linalg.norm(table, axis=-1, keepdims=True)
    unit = table / np.maximum(length, np.finfo(table.dtype).tiny)
    return (unit @ unit.T).reshape(*grid, *grid)


def patch_filters(model: ViT) -> np.ndarray:
    """(D, height, width, C): for each of the D features of a patch, the pixel weights of its projection.

    Raises ConfigError for a model whose patches are not cut from the image itself.
    """
    patch, channels = model.config.patch_size, model.config.channels
    weight = to_numpy(model.patch_embed.projection.weight.data)
    if len(weight) != patch[0] * patch[1] * channels:
        raise ConfigError("the model does not cut its patches from the image, so it has no filters to show")
    return weight.T.reshape(-1, *patch, channels)


def principal_components(samples: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(S, ...) -> (K, ...) unit vectors, and (K,) the share of the samples' variance along each; K <= count.

    Principal component analysis about the mean, the largest first (of the patch filters: Figure 7 left). The sign of
    a component means nothing; here its largest entry is positive. Directions without variance are left out. Raises
    ConfigError for samples that are not finite.
    """
    if not np.isfinite(samples).all():
        raise ConfigError("there are NaN or infinite values among the weights")
    centred = (samples - samples.mean(axis=0)).reshape(len(samples), -1)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    count = min(count, int((sizes > sizes[0] * len(sizes) * np.finfo(sizes.dtype).eps).sum()))
    components = directions[:count]
    largest = np.take_along_axis(components, abs(components).argmax(axis=1, keepdims=True), axis=1)
    relative = sizes / max(sizes[0], np.finfo(sizes.dtype).tiny)  # squares of the sizes themselves might overflow
    share = relative[:count] ** 2 / max((relative**2).sum(), 1)
    return (components * np.sign(largest)).reshape(count, *samples.shape[1:]), share


def confusion_counts(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """(K, K): [i, j] is the number of images of class i classified as j.   labels, predictions: (B,)."""
    return np.bincount(labels * classes + predictions, minlength=classes * classes).reshape(classes, classes)
