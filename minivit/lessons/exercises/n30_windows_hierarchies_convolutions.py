"""Exercises of notebook 30, windows, hierarchies and convolutions."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number

ORDER = ((0, 0), (1, 0), (0, 1), (1, 1))  # of four neighbours, as (row, column)


def _reach(n: int, m: int, starts: list[int], place: int, way: int = 1, around: bool = False) -> int:
    """way: -1 moves windows to the other side.   around: windows of the last and the first places are one."""
    window = [[(i - way * start) // m % (-(-n // m) if around else n + m) for i in range(n)] for start in starts]
    seen = {place}
    for of in reversed(window):
        seen = {i for i in range(n) if of[i] in {of[j] for j in seen}}
    return len(seen)


def _first_block_last(n: int, m: int, starts: list[int], place: int) -> int:
    return _reach(n, m, starts[::-1], place)


def _added(n: int, m: int, starts: list[int], place: int) -> int:
    """The windows of the place itself in all blocks, together."""
    return len({i for i in range(n) for start in starts if (i - start) // m == (place - start) // m})


def _never_cut(n: int, m: int, starts: list[int], place: int) -> int:
    low = high = place
    for start in reversed(starts):
        low, high = (low - start) // m * m + start, (high - start) // m * m + start + m - 1
    return high - low + 1


def _walks(rng: np.random.Generator) -> list[tuple]:
    return [
        (8, 4, [0, 2], 0),
        (8, 4, [0], 5),
        (12, 4, [0, 2], 4),
        (12, 4, [2, 0], 3),
        (15, 5, [0, 2, 0], 7),
        (15, 5, [0, 2], 14),
        (18, 6, [0, 2, 0, 2], 1),
        (20, 5, [0, 0, 3], 12),
        (21, 3, [0, 1, 0, 1, 0], 10),
        (16, 4, [3, 0], 15),
        (24, 4, [0, 1, 2], 13),
        (24, 6, [0, 2], 13),
        (13, 4, [0, 2, 0], 12),
        (14, 4, [2, 0], 13),
    ]


def _joined(dy: np.ndarray, order: tuple[tuple[int, int], ...] = ORDER) -> np.ndarray:
    """Numbers go back to where they came from: dx is taken apart as the forward pass takes x."""
    h, w, D = dy.shape[0], dy.shape[1], dy.shape[2] // 4
    dx = np.zeros((2 * h, 2 * w, D))
    for part, (row, column) in enumerate(order):
        dx[row::2, column::2] = dy[:, :, part * D : (part + 1) * D]
    return dx


def _interleaved(dy: np.ndarray) -> np.ndarray:
    h, w, D = dy.shape[0], dy.shape[1], dy.shape[2] // 4
    return dy.reshape(h, w, D, 2, 2).transpose(0, 4, 1, 3, 2).reshape(2 * h, 2 * w, D)


def _halves(dy: np.ndarray) -> np.ndarray:
    """Quarters of the map in place of neighbours."""
    h, w, D = dy.shape[0], dy.shape[1], dy.shape[2] // 4
    dx = np.zeros((2 * h, 2 * w, D))
    for part, (row, column) in enumerate(ORDER):
        dx[row * h : (row + 1) * h, column * w : (column + 1) * w] = dy[:, :, part * D : (part + 1) * D]
    return dx


def _by_reshape(dy: np.ndarray) -> np.ndarray:
    return dy.reshape(2 * dy.shape[0], 2 * dy.shape[1], dy.shape[2] // 4)


def _maps(rng: np.random.Generator) -> list[tuple]:
    return [(rng.standard_normal((h, w, 4 * D)),) for h, w, D in ((2, 3, 5), (4, 1, 2), (3, 5, 4))]


def _taps(x: np.ndarray, r: int, step: int = 2) -> Iterator[tuple[int, slice]]:
    count = len(x) - 2 * r + 2
    yield from ((a, slice(step * a, step * a + count)) for a in range(r))


def _dilated(x: np.ndarray, W: np.ndarray, dy: np.ndarray, step: int = 2, mirrored: bool = False) -> tuple:
    dx, dW = np.zeros_like(x), np.zeros_like(W)
    for a, places in _taps(x, len(W), step):
        dx[places] += dy * W[len(W) - 1 - a if mirrored else a]
        dW[a] = (x[places] * dy).sum(axis=0)
    return dx, dW


def _by_mean(x: np.ndarray, W: np.ndarray, dy: np.ndarray) -> tuple:
    dx, dW = _dilated(x, W, dy)
    return dx, dW / len(dy)


def _last_tap(x: np.ndarray, W: np.ndarray, dy: np.ndarray) -> tuple:
    dx, dW = np.zeros_like(x), _dilated(x, W, dy)[1]
    for a, places in _taps(x, len(W)):
        dx[places] = dy * W[a]
    return dx, dW


def _weights_mirrored(x: np.ndarray, W: np.ndarray, dy: np.ndarray) -> tuple:
    dx, dW = _dilated(x, W, dy)
    return dx, dW[::-1]


def _features_mixed(x: np.ndarray, W: np.ndarray, dy: np.ndarray) -> tuple:
    dx, dW = _dilated(x, W, dy)
    return dx, np.repeat(dW.sum(axis=1, keepdims=True), dW.shape[1], axis=1)


def _forward_again(x: np.ndarray, W: np.ndarray, dy: np.ndarray) -> tuple:
    """dy is convolved as x was: with the filter as it is, from the place onwards."""
    padded = np.pad(dy, ((0, len(x) + 2 * len(W) - 2), (0, 0)))
    dx = sum(padded[2 * a : 2 * a + len(x)] * W[a] for a in range(len(W)))
    return dx, _dilated(x, W, dy)[1]


def _signals(rng: np.random.Generator) -> list[tuple]:
    shapes = ((9, 3, 2), (12, 2, 5), (15, 5, 3), (8, 1, 4))
    return [
        (rng.standard_normal((n, D)), rng.standard_normal((r, D)), rng.standard_normal((n - 2 * r + 2, D)))
        for n, r, D in shapes
    ]


EXERCISES = [
    Exercise(
        "30.1",
        number(
            8.0,
            {
                64: "That is the ratio for scores and mixing. The products with weights cost the same in both.",
                1 / 8: "The other way round: how many times as many does global attention need?",
                1 / 64: "That is the ratio for scores and mixing, and the other way round.",
                16 / 3: "Queries, keys, values and output: that is four products of D by D.",
                22: "Queries, keys, values and output: that is four products of D by D.",
                4.8: "Scores and mixing are two products: each pair costs 2 D.",
                256: "A map has 32 x 32 places and a window 4 x 4. A place sees 1,024 or 16 of them.",
            },
        ),
        "The products with weights hide a part of what windows save. With more places they hide less and less.",
    ),
    Exercise(
        "30.2",
        diagnosed(
            _reach,
            _walks,
            {
                "The first and the last places share a window here. The mask forbids this: windows at the ends are "
                "cut.": partial(_reach, around=True),
                "Windows begin at the shift. Here they are moved the other way.": partial(_reach, way=-1),
                "The blocks are taken from the first to the last. The output is asked for: which places does the last "
                "block read, and which does the block before it read for each of these?": _first_block_last,
                "These are the windows of `place` itself. The other places of its window have looked further in the "
                "blocks before.": _added,
                "This is one block. All blocks of the list count.": lambda n, m, starts, place: _reach(
                    n, m, starts[-1:], place
                ),
                "The shifts are ignored: windows of every block begin at 0 here.": lambda n, m, starts, place: _reach(
                    n, m, [0] * len(starts), place
                ),
                "Windows at the ends are cut: they cannot reach beyond the map.": _never_cut,
                "These are the places of one window. The others of this window have looked elsewhere before.": (
                    lambda n, m, starts, place: m
                ),
                "A window of m places is not m places to each side.": lambda n, m, starts, place: (
                    min(n - 1, place + m * len(starts)) - max(0, place - m * len(starts)) + 1
                ),
                "Attention sees all n places. Here each place sees its window alone.": lambda n, m, starts, place: n,
                "m places more for each block is too many: windows overlap.": lambda n, m, starts, place: min(
                    n, m * len(starts)
                ),
            },
            where={
                "there are more than two blocks": lambda n, m, starts, place: len(starts) > 2,
                "a window is cut by the end of the map": lambda n, m, starts, place: place in (0, n - 1),
            },
            allowed=(),
        ),
        "Two blocks, one with moved windows, reach beyond any border. What is far apart needs as many steps.",
    ),
    Exercise(
        "30.3",
        function_like(
            _joined,
            _maps,
            {
                "The order of the neighbours is that of an image, row by row. Swin's second part is the place "
                "below.": partial(_joined, order=((0, 0), (0, 1), (1, 0), (1, 1))),
                "Parts lie behind each other, D features each: features of one place stay together.": _interleaved,
                "Neighbours are joined, not quarters of the map.": _halves,
                "A reshape alone keeps the order of the numbers. Neighbours in a column are not neighbours in "
                "memory.": _by_reshape,
                "Only a copy goes back: nothing is averaged.": lambda dy: _joined(dy) / 4,
                "The four parts go back in the opposite order.": partial(_joined, order=ORDER[::-1]),
            },
            allowed=(),
        ),
        "Joining only moves numbers, so the gradient moves back, and each number has exactly one way.",
    ),
    Exercise(
        "30.4",
        function_like(
            _dilated,
            _signals,
            {
                "The taps are two places apart: this is the gradient with neighbouring taps.": partial(
                    _dilated, step=1
                ),
                "dW is right. Each dy goes back through the weight that it came from; this mirrors the filter "
                "once more.": partial(_dilated, mirrored=True),
                "dW is right. An x is used by several outputs, and its gradients add up. This keeps the last "
                "one.": _last_tap,
                "dW is right. x at place j went to outputs at j and before it, so dy is read from there.": (
                    _forward_again
                ),
                "dx is right. A weight is used at all places: its gradient is a sum, not a mean.": _by_mean,
                "dx is right. The taps of dW are in the opposite order.": _weights_mirrored,
                "dx is right. The convolution is depthwise: features do not mix.": _features_mixed,
            },
            allowed=(),
            results="dx dW",
        ),
        "The same two sums as without dilation, with other places. A wider reach costs no more weights.",
    ),
    Exercise(
        "30.5",
        number(
            6,
            {
                5: "These are the blocks of the first two stages. Which kind of attention has the block after them?",
                2: "The second stage attends in units as well.",
                3: "The second stage attends in units as well, and the first one comes before it.",
                7: "One block switches late, not two.",
                21: "The third stage attends globally.",
                24: "The third and fourth stages attend globally.",
                0: "In a mask unit, tokens see no other unit.",
            },
        ),
        "2 + 3 + 1. Everything that joins units happens later, in the stages that have most of the blocks.",
    ),
]
