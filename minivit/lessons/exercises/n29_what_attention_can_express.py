"""Exercises of notebook 29, attention as convolution."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise, Wrong
from minivit.lessons.judges import arrays, call, kind, number


def _seen(x: np.ndarray, centre: np.ndarray, mode: str = "edge", sign: int = 1) -> np.ndarray:
    """The pixel at place + sign centre.   mode: of np.pad."""
    far = int(np.abs(centre).max())
    around = np.pad(x, far, mode=mode)  # type: ignore[call-overload]
    row, column = (far + sign * int(c) for c in centre)
    return around[row : row + len(x), column : column + x.shape[1]]


def _images(rng: np.random.Generator) -> list[tuple]:
    """Centres of both signs, on a pixel of the image for some queries or for none; the query itself."""
    cases = []
    for rows, columns, centre in ((4, 6, (1, -2)), (5, 3, (-1, 0)), (3, 5, (0, 3)), (4, 7, (-6, 1)), (2, 3, (0, 0))):
        cases.append((rng.standard_normal((rows, columns)), np.array(centre)))
    return cases


def _reaches_out(x: np.ndarray, centre: np.ndarray) -> bool:
    return bool(centre.any())


def _long(Q: np.ndarray, centre: np.ndarray, half: float = 0.5, both: float = 1.0, moved: Any = None) -> np.ndarray:
    """half: factor of the squares; both: of the mixed term; moved: in the place of Q centre."""
    moved = Q @ centre if moved is None else moved
    return np.array([-half * Q[0, 0], -both * Q[0, 1], -half * Q[1, 1], *moved])


def _ellipses(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for _ in range(4):
        root = rng.standard_normal((2, 2))
        cases.append((root @ root.T + np.eye(2), rng.standard_normal(2)))
    return cases


def _absolute(places: np.ndarray, centre: np.ndarray, alpha: float) -> np.ndarray:
    """The scores of a head, less the mean of each row, which the softmax does not see."""
    d = places[None] - places[:, None]
    return _centred(-alpha * ((d - centre) ** 2).sum(axis=-1))


def _centred(scores: np.ndarray) -> np.ndarray:
    return scores - scores.mean(axis=1, keepdims=True)


def _product(of_query: Callable, square: float = 1.0) -> Callable:
    """Scores alpha (2 of_query v - square |v|^2), less the mean of each row."""

    def scores(places: np.ndarray, centre: np.ndarray, alpha: float) -> np.ndarray:
        lengths = (places**2).sum(axis=1)
        return _centred(alpha * (2 * of_query(places, centre) @ places.T - square * lengths))

    return scores


def _grids(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for rows, columns in ((2, 4), (3, 2), (4, 3)):
        places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
        cases.append((places.astype(float), rng.standard_normal(2), float(rng.uniform(0.5, 3))))
    return cases


_judge_scores = diagnosed(
    _absolute,
    _grids,
    {
        "The head looks the other way: its centre is at the key's place minus the query's.": _product(
            lambda u, c: u - c
        ),
        "The centre is the same place of the image for all queries; it is to move with the query.": (
            _product(lambda u, c: np.tile(c, (len(u), 1)))
        ),
        "The centre does not come in: each query looks at itself.": _product(lambda u, c: u),
        "The square of the key's place is missing. It is not the same for all keys.": _product(lambda u, c: u + c, 0.0),
        "The mixed term of the square has a factor 2.": _product(lambda u, c: (u + c) / 2),
        "The scores are not divided by the square root of the width here.": (
            lambda places, centre, alpha: _absolute(places, centre, alpha) / math.sqrt(3)
        ),
        "The scores have their sign changed: the softmax would take the farthest key.": (
            lambda places, centre, alpha: -_absolute(places, centre, alpha)
        ),
        "Of the scores only the product of the two places is left. Are queries and keys exchanged?": (
            _product(lambda u, c: u, 0.0)
        ),
        "The sharpness does not come in.": lambda places, centre, alpha: _absolute(places, centre, 1.0),
        "The sharpness comes in twice.": lambda places, centre, alpha: alpha * _absolute(places, centre, alpha),
    },
    advice="Compared are the scores q @ k.T, less the mean of each row.",
)


def _judge_absolute(answer: Any) -> str | None:
    """The scores that queries and keys give, whatever their width and however they share the factors."""

    def scores(places: np.ndarray, centre: np.ndarray, alpha: float) -> np.ndarray:
        result = call(answer, places, centre, alpha, allowed=())
        parts = arrays(result)
        if len(parts) == 1 and parts[0].ndim == 3 and len(parts[0]) == 2:
            parts = tuple(parts[0])
        if len(parts) != 2:
            raise Wrong(f"It should return queries and keys, two arrays; it returned {kind(result)}.")
        q, k = parts
        for name, part in (("q", q), ("k", k)):
            if part.ndim != 2 or len(part) != len(places):
                raise Wrong(
                    f"{name} should have a row for each token, {len(places)} of them; its shape is {part.shape}."
                )
        if q.shape != k.shape:
            raise Wrong(f"q and k should have the same width; they have the shapes {q.shape} and {k.shape}.")
        return _centred(q @ k.T)

    return _judge_scores(scores)


EXERCISES = [
    Exercise(
        "29.1",
        number(
            math.log(8e6),
            {
                math.log(
                    1e6
                ): "This is one wrong key. There are more that near, and the right one has lost something, too.",
                math.log(2e6): "This counts one wrong key and its share of the loss. How many keys are that near?",
                math.log(4e6): "These are the wrong keys. The weights add up to 1, so the right one has lost as much.",
                math.log(16e6): "The keys on the diagonals are at the squared distance 2: of second order.",
                math.log(6e6): "A pixel has neighbours in four directions, and this counts three.",
                math.log10(8e6): "Undo the exponential with the natural logarithm.",
                math.log10(
                    4e6
                ): "Undo the exponential with the natural logarithm, and mind that the weights add up to 1.",
                math.log10(1e6): "Undo the exponential with the natural logarithm, and count the keys.",
                -math.log(8e6): "A sharpness is positive.",
            },
        ),
        "A sharpness of 16 leaves a millionth: each e is one unit.",
    ),
    Exercise(
        "29.2",
        diagnosed(
            _seen,
            _images,
            {
                "The step goes from the query to the key; this goes the other way.": lambda x, c: _seen(x, c, sign=-1),
                "Outside the image there is no key whose value is 0. The softmax takes a key that exists.": (
                    lambda x, c: _seen(x, c, "constant")
                ),
                "The image does not go on at its other side: the nearest key is meant.": lambda x, c: _seen(
                    x, c, "wrap"
                ),
                "The image is not mirrored at its border: the nearest key is meant.": lambda x, c: _seen(
                    x, c, "reflect"
                ),
                "The image is not mirrored at its border; the nearest key is meant.": (
                    lambda x, c: _seen(x, c, "symmetric")
                ),
                "The first number of the centre counts rows, the second columns.": lambda x, c: _seen(x, c[::-1]),
                "Both at once: the step goes the other way, and outside there are no zeros.": (
                    lambda x, c: _seen(x, c, "constant", -1)
                ),
                "This goes the other way, and around the image.": lambda x, c: _seen(x, c, "wrap", -1),
                "This is the image itself: the head looks at a place beside the query.": lambda x, c: x,
            },
            where={"the centre is not the query itself": _reaches_out},
            allowed=(),
        ),
        "A very sharp head shifts the image and repeats its edge.",
    ),
    Exercise(
        "29.3",
        diagnosed(
            _long,
            _ellipses,
            {
                "The mixed term occurs twice in the square, once for each order.": lambda Q, c: _long(Q, c, both=0.5),
                "The score has a factor 1/2, which the squares keep.": lambda Q, c: _long(Q, c, half=1.0),
                "The factor 1/2 is missing in all quadratic terms.": lambda Q, c: _long(Q, c, half=1.0, both=2.0),
                "The factor 1/2 is missing everywhere.": lambda Q, c: 2 * _long(Q, c),
                "The linear terms have the centre multiplied by the matrix.": lambda Q, c: _long(Q, c, moved=c),
                "The linear terms have the wrong sign: the head would look the other way.": (
                    lambda Q, c: _long(Q, c, moved=-Q @ c)
                ),
                "The linear terms occur twice in the square, and the factor 1/2 halves them.": (
                    lambda Q, c: _long(Q, c, moved=2 * Q @ c)
                ),
                "The linear terms occur twice in the square; this counts them once.": (
                    lambda Q, c: _long(Q, c, moved=Q @ c / 2)
                ),
                "The linear terms leave out what is beside the diagonal of the matrix.": (
                    lambda Q, c: _long(Q, c, moved=np.diag(Q) * c)
                ),
                "The squares have the wrong sign: the score falls with the distance.": (
                    lambda Q, c: _long(Q, c, half=-0.5, both=-1.0)
                ),
                "This leaves out the mixed term.": lambda Q, c: _long(Q, c, both=0.0),
                "The order of the terms is that of r: the squares are the first and the third.": (
                    lambda Q, c: _long(Q, c)[[0, 2, 1, 3, 4]]
                ),
            },
            allowed=(),
        ),
        "Five numbers per offset, and a head may be long and slanted.",
    ),
    Exercise(
        "29.4",
        _judge_absolute,
        "Three features of the absolute place are enough: with nine heads, a ViT can convolve its patches.",
    ),
]
