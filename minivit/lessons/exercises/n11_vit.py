"""Exercises of notebook 11, the whole Vision Transformer."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import choice, function_like
from minivit.lessons.slips.vit import SLIPS, vit
from minivit.models import ViT, ViTConfig


def _parameters(D: int, F: int, *, of_msa: int = 4, of_mlp: int = 2, of_D: int = 9, of_F: int = 1) -> int:
    """of_msa, of_mlp: matrices; of_D, of_F: biases and scales of this length."""
    return of_msa * D * D + of_mlp * D * F + of_D * D + of_F * F


def _image_gradient(dz0, E, height, width, P, order=(0, 1, 3, 2, 4, 5)):
    """`order`: that of the axes (image, patch row, patch column, row, column, channel) in the result."""
    dpatches = dz0[:, 1:] @ E.T
    tiles = dpatches.reshape(len(dz0), height // P, width // P, P, P, -1)
    return tiles.transpose(order).reshape(len(dz0), height, width, -1)


def _channels_first(dz0, E, height, width, P):
    dpatches = dz0[:, 1:] @ E.T
    tiles = dpatches.reshape(len(dz0), height // P, width // P, -1, P, P)
    return tiles.transpose(0, 1, 4, 2, 5, 3).reshape(len(dz0), height, width, -1)


def _by_columns(dz0, E, height, width, P):
    tiles = (dz0[:, 1:] @ E.T).reshape(len(dz0), width // P, height // P, P, P, -1)
    return tiles.transpose(0, 2, 3, 1, 4, 5).reshape(len(dz0), height, width, -1)


def _class_token_kept(dz0, E, height, width, P):
    shifted = np.concatenate([dz0[:, :1], dz0[:, :-1]], axis=1)  # what [:, :N] instead of [:, 1:] would take
    return _image_gradient(shifted, E, height, width, P)


def _gradient_cases(rng: np.random.Generator) -> list[tuple]:
    shapes = ((2, 6, 9, 3, 4, 5), (3, 8, 4, 2, 5, 7), (1, 4, 12, 4, 1, 3), (4, 2, 3, 1, 2, 6))  # B, ..., P, C, D
    return [
        (rng.standard_normal((B, 1 + height * width // P**2, D)), rng.standard_normal((P * P * C, D)), height, width, P)
        for B, height, width, P, C, D in shapes
    ]


@functools.cache
def _models() -> list[tuple[np.ndarray, dict[str, Any], int, int]]:
    """Small models without a [class] token and with random parameters: (images, parameters, P, H)."""
    rng, found = np.random.default_rng(0), []
    for depth, width, heads, size, patch in ((2, 6, 2, (4, 10), 2), (11, 6, 3, (6, 3), 3), (1, 8, 4, (6, 4), 2)):
        config = ViTConfig(size, patch, width, depth, heads, mlp_width=7, num_classes=4, channels=2, classifier="gap")
        model = ViT(config, seed=0, dtype="float64")
        for tensor in model.parameters():
            tensor.data += 0.5 * rng.standard_normal(tensor.shape)
        images = rng.standard_normal((3, *size, 2))
        found.append((images, model.state_dict(), patch, heads))
    images, w, P, H = found[0]
    silenced = [("attention.out",), ("mlp.out",), ("attention.out", "mlp.out")]
    return found + [(images, _silent(w, parts), P, H) for parts in silenced]


def _silent(w: dict[str, Any], parts: tuple[str, ...]) -> dict[str, Any]:
    """Parameters of a model whose blocks add nothing by these parts."""
    return {name: 0 * a if any(part in name for part in parts) else a for name, a in w.items()}


def _adds(part: str) -> Callable[..., bool]:
    return lambda images, w, P, H: bool(w[f"blocks.0.{part}.out.weight"].any())


def _outside_the_blocks(args: tuple, results: tuple[np.ndarray, ...]) -> str:
    if _adds("attention")(*args) or _adds("mlp")(*args):
        return ""
    return (
        "It is wrong even for a model whose blocks add nothing: look at the patches, the position embedding, the last "
        "LayerNorm, the mean and the head."
    )


EXERCISES = [
    Exercise(
        "11.1",
        diagnosed(
            _parameters,
            lambda rng: [(5, 11), (192, 768), (64, 64), (7, 3), (2, 1), (3, 8), (12, 5)],
            {
                "The biases of the linear layers are missing: 3D + D in MSA, F + D in the MLP.": (
                    partial(_parameters, of_D=4, of_F=0)
                ),
                "The LayerNorms are missing: two, each with a scale and a bias of D numbers. (Or the biases of MSA, as "
                "many.)": (partial(_parameters, of_D=5)),
                "These are the matrices alone: biases and LayerNorms count too.": partial(_parameters, of_D=0, of_F=0),
                "F is an argument of its own: it need not be 4D.": lambda D, F: 12 * D * D + 13 * D,
                "2D numbers are missing: each of the two LayerNorms has a scale and a bias; q, k and v have a bias "
                "each.": (partial(_parameters, of_D=7)),
                "2D numbers are too many: a block has two LayerNorms; the last one is behind all blocks.": (
                    partial(_parameters, of_D=11)
                ),
                "MSA has a fourth matrix: the projection after the heads, D x D and a bias.": (
                    partial(_parameters, of_msa=3, of_D=8)
                ),
                "MSA has a fourth matrix, D x D: the projection after the heads.": partial(_parameters, of_msa=3),
                "Queries, keys and values have a matrix each, D x D; this counts one for the three.": (
                    partial(_parameters, of_msa=2)
                ),
                "The MLP has two matrices, D x F and F x D.": partial(_parameters, of_mlp=1),
                "D numbers are missing: every linear layer has a bias, as long as its output.": (
                    partial(_parameters, of_D=8)
                ),
                "The biases of queries, keys and values are missing: 3D.": partial(_parameters, of_D=6),
                "The first layer of the MLP has a bias of F numbers.": partial(_parameters, of_F=0),
                "A bias is as long as the output of its layer: F in the first layer of the MLP, D in the second.": (
                    partial(_parameters, of_D=8, of_F=2)
                ),
                "A bias is as long as the output of its layer: F in the first layer of the MLP, not D.": (
                    partial(_parameters, of_D=10, of_F=0)
                ),
            },
            terms={
                "D^2": lambda D, F: D * D,
                "D F": lambda D, F: D * F,
                "D": lambda D, F: D,
                "F": lambda D, F: F,
                "no letter": lambda D, F: 1,
            },
        ),
        "With F = 4D that is 12 D^2 + 13 D: to a good approximation a ViT has 12 L D^2 parameters.",
    ),
    Exercise(
        "11.2",
        diagnosed(
            lambda N, D: 0.5 + N / (4 * D),
            lambda rng: [(197, 768), (65, 64), (10, 3), (1, 8), (4, 5), (30, 7), (50, 2), (9, 20)],
            {
                "The two products with A are missing: the ratio must depend on N.": lambda N, D: 0.5,
                "The four projections are missing: 4 N D^2.": lambda N, D: N / (4 * D),
                "q k^T is counted, A v is not: each takes N^2 D.": lambda N, D: 0.5 + N / (8 * D),
                "MSA has four projections: queries, keys, values, and the one after the heads.": (
                    lambda N, D: 3 / 8 + N / (4 * D)
                ),
                "This is the ratio of the MLP to attention, the other way round.": lambda N, D: 1 / (0.5 + N / (4 * D)),
                "The MLP has two products, D to F and F to D.": lambda N, D: 1 + N / (2 * D),
                "q k^T takes N^2 D and A v as many; this counts twice that.": lambda N, D: 0.5 + N / (2 * D),
                "F = 4D: the MLP takes 8 N D^2; this is the ratio for F = D.": lambda N, D: 2 + N / D,
                "The products with A take N^2 D each: N to the second power, D to the first.": (
                    lambda N, D: 0.5 + D / (4 * N)
                ),
                "This is the number of multiply-adds of attention; divide it by that of the MLP.": (
                    lambda N, D: 4 * N * D**2 + 2 * N**2 * D
                ),
            },
            terms={
                "no letter": lambda N, D: 1,
                "N / D": lambda N, D: N / D,
                "D / N": lambda N, D: D / N,
                "1 / D": lambda N, D: 1 / D,
                "1 / N": lambda N, D: 1 / N,
                "N": lambda N, D: N,
            },
        ),
        "1/2 + N/(4D): the ratio is 1 at N = 2D. The number of heads does not matter.",
    ),
    Exercise(
        "11.3",
        choice(
            "head",
            {
                "all": "In step 2, dy = dlogits W^T. What is that for a head W of zeros?",
                "last block and head": "What reaches the last block has passed the head: dy = dlogits W^T, with W = 0.",
                "none": "dW of the head is y^T dlogits. W being zero does not make that zero, nor dlogits.",
            },
        ),
        "dW = y^T dlogits needs no W, but dy = dlogits W^T does. From the second step on the head is not zero, and all "
        "other parameters learn as well.",
    ),
    Exercise(
        "11.4",
        function_like(
            _image_gradient,
            _gradient_cases,
            {
                "Rows and columns inside the patches are exchanged: each patch is transposed.": (
                    lambda dz0, E, height, width, P: _image_gradient(dz0, E, height, width, P, (0, 1, 4, 2, 3, 5))
                ),
                "The order in a patch is row, column, channel: the channel runs fastest.": _channels_first,
                "The patches are not put back in their places: before the reshape the axes must be (patch row, row, "
                "patch column, column).": (
                    lambda dz0, E, height, width, P: _image_gradient(dz0, E, height, width, P, (0, 1, 2, 3, 4, 5))
                ),
                "Token 0 is the [class] token; patch i is token i + 1.": _class_token_kept,
                "The patches are numbered row by row; this puts them back column by column.": _by_columns,
                "Each patch is turned upside down and left to right.": (
                    lambda dz0, E, *rest: _image_gradient(dz0, E[::-1], *rest)
                ),
                "The patches are put back in reverse order.": (
                    lambda dz0, E, *rest: _image_gradient(dz0[:, ::-1], E, *rest)
                ),
                "E maps pixels to features, and the gradient goes back with its transpose: E.T, not its inverse.": (
                    lambda dz0, E, *rest: _image_gradient(dz0, np.linalg.pinv(E).T, *rest)
                ),
            },
            allowed=(),
        ),
        "The pullback of cutting into patches is putting them together again. No two patches share a pixel, so nothing "
        "is added up.",
    ),
    Exercise(
        "11.5",
        diagnosed(
            vit,
            lambda rng: _models(),
            {hint: partial(vit, slip=slip) for slip, hint in SLIPS.items()},
            rtol=1e-8,
            allowed=(),
            where={
                "there are more than ten blocks": lambda images, w, P, H: "blocks.10.norm1.scale" in w,
                "attention adds something to the tokens": _adds("attention"),
                "the MLP adds something to the tokens": _adds("mlp"),
                "a block adds something to the tokens": lambda *args: _adds("attention")(*args) or _adds("mlp")(*args),
            },
            explained=_outside_the_blocks,
            advice="The logits differ from the library's. To find where, take a model with "
            'classifier="gap": `tap = {}; model(images, tap=tap)` fills the dict with its tokens after every block.',
        ),
        "You have written a Vision Transformer from nothing but arrays.",
    ),
]
