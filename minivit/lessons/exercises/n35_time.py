"""Exercises of notebook 35, clips as tokens."""

from collections.abc import Callable
from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise


def _frames_needed(
    patches: int,
    factor: float,
    tokens: tuple[int, int] = (1, 1),
    time: bool = True,
    space: bool = True,
    reached: Callable[[float, float], bool] = np.greater_equal,
    second: int = 0,
) -> int:
    """tokens: [class] in joint and in divided attention; time, space: which parts of divided attention count; second:
    1 to count the second model of factorised attention."""
    for frames in range(1, 10_000):
        joint = (tokens[0] + frames * patches) ** 2
        divided = time * patches * frames**2 + space * frames * (tokens[1] + patches) ** 2
        if reached(joint, factor * (divided + second * (1 + frames) ** 2)):
            return frames
    return 0


def _lengths(rng: np.random.Generator) -> list[tuple]:
    """In the last case four frames reach the factor exactly."""
    return [(16, 2.0), (196, 5.0), (9, 3.5), (4, 1.5), (49, 20.0), (4, 0.5), (5, 1.96875)]


def _clip_of(
    tokens: np.ndarray,
    grid: tuple[int, int],
    t: int,
    side: int,
    order: tuple[int, ...] = (0, 1, 4, 2, 5, 3, 6, 7),
    split: str = "tpc",
) -> np.ndarray:
    """order: of the axes batch, slice, row, column, frame, row and column of a pixel, channel.   split: "ptc" if the
    pixels of a token are taken in the order row, column, frame, channel, and "ctp" in the order channel, frame, row,
    column."""
    batch, slices = tokens.shape[:2]
    if split == "ctp":
        x = np.moveaxis(tokens.reshape(batch, slices, *grid, -1, t, side, side), 4, -1)
    elif split == "ptc":
        x = np.moveaxis(tokens.reshape(batch, slices, *grid, side, side, t, -1), 6, 4)
    else:
        x = tokens.reshape(batch, slices, *grid, t, side, side, -1)
    return x.transpose(order).reshape(batch, slices * t, grid[0] * side, grid[1] * side, -1)


def _mixed(tokens: np.ndarray, grid: tuple[int, int], t: int, side: int) -> np.ndarray:
    """Slices of different clips change places."""
    batch, slices = tokens.shape[:2]
    return _clip_of(tokens.swapaxes(0, 1).reshape(batch, slices, *tokens.shape[2:]), grid, t, side)


def _slices_first(tokens: np.ndarray, grid: tuple[int, int], t: int, side: int) -> np.ndarray:
    """The first two axes read as slices and clips."""
    batch, slices = tokens.shape[:2]
    return _clip_of(tokens.reshape(slices, batch, *tokens.shape[2:]).swapaxes(0, 1), grid, t, side)


def _columns_first(tokens: np.ndarray, grid: tuple[int, int], t: int, side: int) -> np.ndarray:
    """The tubelets of a slice read column by column."""
    order = np.arange(tokens.shape[2]).reshape(grid[::-1]).T.reshape(-1)
    return _clip_of(tokens[:, :, order], grid, t, side)


def _cut_clips(rng: np.random.Generator) -> list[tuple]:
    sizes = ((2, 3, (2, 3), 2, 2, 3), (3, 2, (3, 2), 3, 2, 1), (2, 2, (2, 2), 2, 3, 2), (4, 3, (1, 4), 1, 2, 3))
    return [
        (rng.standard_normal((batch, slices, grid[0] * grid[1], t * side * side * colours)), grid, t, side)
        for batch, slices, grid, t, side, colours in sizes
    ]


def _tables(
    places: np.ndarray,
    times: np.ndarray,
    first: tuple[bool, bool] = (True, False),
) -> tuple[np.ndarray, ...]:
    """first: for both results, whether place and time are in the order that goes frame after frame."""
    n, frames = len(places), len(times)
    by_frame = np.tile(places, (frames, 1)) + np.repeat(times, n, axis=0)
    by_place = np.repeat(places, frames, axis=0) + np.tile(times, (n, 1))
    return tuple(by_frame if wanted else by_place for wanted in first)


def _both(by: Callable[..., tuple]) -> Callable[..., tuple]:
    """The same rule for both results.   by: places and times repeated for one result."""

    def wrong(places: np.ndarray, times: np.ndarray) -> tuple:
        return by(places, times, len(places), len(times))

    return wrong


def _rows(rng: np.random.Generator) -> list[tuple]:
    return [
        (rng.standard_normal((n, width)), rng.standard_normal((frames, width)))
        for n, frames, width in ((3, 2, 4), (2, 5, 3), (4, 3, 2), (6, 4, 5))
    ]


OPPOSITE = np.array([1, 0, 3, 2])
ACROSS, DOWN = np.array([1, 0, 2, 3]), np.array([0, 1, 3, 2])
SAME = np.arange(4)


def _labels(
    labels: np.ndarray,
    mirrored: bool,
    upside_down: bool,
    backwards: bool,
    tables: tuple[np.ndarray, np.ndarray, np.ndarray] = (ACROSS, DOWN, OPPOSITE),
    once: bool = False,
) -> np.ndarray:
    """tables: what a change in space, mirrored or upside down, and in time makes of a label.   once: only the first
    change counts."""
    for asked, table in zip((mirrored, upside_down, backwards), tables, strict=True):
        if asked:
            labels = table[labels]
            if once:
                break
    return labels


def _overwritten(labels: np.ndarray, mirrored: bool, upside_down: bool, backwards: bool) -> np.ndarray:
    """One label after the other is replaced in the same array."""
    labels = labels.copy()
    for asked, pairs in ((mirrored, [(0, 1)]), (upside_down, [(2, 3)]), (backwards, [(0, 1), (2, 3)])):
        for first, second in pairs if asked else []:
            labels[labels == first] = second
            labels[labels == second] = first
    return labels


def _changes(rng: np.random.Generator) -> list[tuple]:
    flags = [(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]
    return [(np.concatenate([SAME, rng.integers(0, 4, 5)]), *some) for some in flags]


EXERCISES = [
    Exercise(
        "35.1",
        diagnosed(
            _frames_needed,
            _lengths,
            {
                "Each frame of divided attention has its patches and [class].": (
                    partial(_frames_needed, tokens=(1, 0))
                ),
                "Joint attention has one more token than patches: [class].": partial(_frames_needed, tokens=(0, 1)),
                "[class] is missing in both counts.": partial(_frames_needed, tokens=(0, 0)),
                "The scores in time are missing in divided attention.": partial(_frames_needed, time=False),
                "The scores in space are missing in divided attention.": partial(_frames_needed, space=False),
                "This compares joint attention with factorised attention.": (
                    partial(_frames_needed, time=False, second=1)
                ),
                "Exactly `factor` times as many is enough.": partial(_frames_needed, reached=np.greater),
                "This is one frame more than needed.": lambda patches, factor: _frames_needed(patches, factor) + 1,
                "With one frame fewer, joint attention would have to have `factor` times as many already.": (
                    lambda patches, factor: _frames_needed(patches, factor) - 1
                ),
            },
            allowed=(),
        ),
        "The ratio grows with the frames towards the number of patches, and stays below it.",
    ),
    Exercise(
        "35.2",
        diagnosed(
            _clip_of,
            _cut_clips,
            {
                "Slices of different clips have changed places. The axis of the clips comes first.": (_mixed),
                "The first two axes are clips, then slices. Here they are read the other way round.": _slices_first,
                "The tubelets of a slice go row by row, not column by column.": _columns_first,
                "In a token the channel counts fastest.": partial(_clip_of, split="ctp"),
                "The frames of a clip are in another order: all first frames of the slices, then all second ones.": (
                    partial(_clip_of, order=(0, 4, 1, 2, 5, 3, 6, 7))
                ),
                "Rows of the grid and rows inside a patch have changed places, and columns, too.": (
                    partial(_clip_of, order=(0, 1, 4, 5, 2, 6, 3, 7))
                ),
                "This reshapes without a transpose: pixels of one tubelet land in one row.": (
                    partial(_clip_of, order=(0, 1, 2, 3, 4, 5, 6, 7))
                ),
                "The pixels of a tubelet are in the order frame, row, column, channel: the frame comes first.": (
                    partial(_clip_of, split="ptc")
                ),
                "Rows and columns inside a patch have changed places: each patch is transposed.": (
                    partial(_clip_of, order=(0, 1, 4, 2, 6, 3, 5, 7))
                ),
            },
            allowed=(),
        ),
        "Cutting and its reverse use the same split axes; the transpose of one undoes that of the other.",
    ),
    Exercise(
        "35.3",
        diagnosed(
            _tables,
            _rows,
            {
                "The two orders are exchanged.": partial(_tables, first=(False, True)),
                "Both tables go frame after frame. In the second, the frame counts fastest.": (
                    partial(_tables, first=(True, True))
                ),
                "Both tables have the frame fastest. The first goes frame after frame.": (
                    partial(_tables, first=(False, False))
                ),
                "Places and times are both tiled: a place then does not meet every time.": _both(
                    lambda p, t, n, j: (np.tile(p, (j, 1)) + np.tile(t, (n, 1)),) * 2
                ),
                "Places and times are both repeated: a place then does not meet every time.": _both(
                    lambda p, t, n, j: (np.repeat(p, j, axis=0) + np.repeat(t, n, axis=0),) * 2
                ),
                "The times are missing.": _both(lambda p, t, n, j: (np.tile(p, (j, 1)), np.repeat(p, j, axis=0))),
                "The places are missing.": _both(lambda p, t, n, j: (np.repeat(t, n, axis=0), np.tile(t, (n, 1)))),
            },
            allowed=(),
            results="by_frame by_place",
        ),
        "ViViT's joint model tiles the table of an image model; a repeat would give neighbours each other's places.",
    ),
    Exercise(
        "35.4",
        diagnosed(
            _labels,
            _changes,
            {
                "The labels do not change. A mirrored clip that moved left moves right.": (
                    partial(_labels, tables=(SAME, SAME, SAME))
                ),
                "Backwards is forgotten: a clip that moved left moves right when it is played backwards.": (
                    partial(_labels, tables=(ACROSS, DOWN, SAME))
                ),
                "Played backwards, up and down change as well.": partial(_labels, tables=(ACROSS, DOWN, ACROSS)),
                "A mirror exchanges left and right. Up and down stay.": (
                    partial(_labels, tables=(OPPOSITE, DOWN, OPPOSITE))
                ),
                "Upside down, left and right stay.": partial(_labels, tables=(ACROSS, OPPOSITE, OPPOSITE)),
                "A mirror exchanges left and right alone, upside down exchanges up and down alone.": (
                    partial(_labels, tables=(OPPOSITE, OPPOSITE, OPPOSITE))
                ),
                "Left becomes right and then left again. Read both from the labels before the change.": _overwritten,
                "Mirrored and upside down are exchanged.": partial(_labels, tables=(DOWN, ACROSS, OPPOSITE)),
                "Only one of several changes is applied.": partial(_labels, once=True),
            },
            where={
                "several changes are made at once": lambda labels, a, b, c: a + b + c > 1,
                "the clip is played backwards": lambda labels, a, b, c: bool(c),
            },
            allowed=(),
        ),
        "All three at once exchange nothing: two changes of a direction cancel.",
    ),
]
