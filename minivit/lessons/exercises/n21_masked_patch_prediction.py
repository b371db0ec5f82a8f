"""Exercises of notebook 21, masked patch prediction."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.slips.hiding import LOSS_SLIPS, PIXEL_SLIPS, loss_of_chosen, pixel_loss


def _colour(
    patch: np.ndarray,
    bits: int,
    order: int = 1,
    whole: Callable = np.floor,
    first_bits: bool = False,
    below: int | None = None,
    base: int | None = None,
) -> float:
    """order: -1 for blue first; first_bits: of every pixel, then their mean; below, base: bits that are cut off, and
    the size of a digit in bits, if not the right ones."""
    step = 2 ** (8 - bits if below is None else below)
    pixels = patch.reshape(-1, patch.shape[-1]).astype(float)
    levels = whole(whole(pixels / step).mean(axis=0) if first_bits else pixels.mean(axis=0) / step)
    digits = (2 ** (bits if base is None else base)) ** np.arange(len(levels))[::-1]
    return float((levels[::order] * digits).sum())


def _as_it_is(x: np.ndarray) -> np.ndarray:
    return x


def _share_of_255(patch: np.ndarray, bits: int) -> float:
    return _colour(patch * (256 / 255), bits)


def _grey(patch: np.ndarray, bits: int) -> int:
    return int(patch.mean() // 2 ** (8 - bits))


def _levels(patch: np.ndarray, bits: int) -> np.ndarray:
    return np.floor(patch.mean(axis=(0, 1)) / 2 ** (8 - bits))


def _coloured(rng: np.random.Generator) -> list[tuple]:
    """The last patch is of one colour, with the largest level of red."""
    sizes = ((4, 3), (2, 2), (8, 4), (3, 1), (5, 3), (4, 5))
    cases = [(rng.integers(0, 200, 3) + rng.integers(0, 56, (p, p, 3)), bits) for p, bits in sizes]
    return [*cases, (np.tile([255, 100, 20], (4, 4, 1)), 3)]


def _chosen(rng: np.random.Generator) -> list[tuple]:
    """Images have different numbers of chosen patches, and every kind occurs."""
    cases = []
    for kind, classes in (
        ([[1, 0, 2, 3, 1], [0, 0, 1, 0, 0]], 4),
        ([[0, 3, 0], [1, 2, 1], [3, 0, 2], [1, 1, 0]], 5),
        ([[1, 1, 0, 0, 2, 3, 1], [0, 3, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 2, 1]], 2),
    ):
        shape = np.shape(kind)
        cases.append((rng.standard_normal((*shape, classes)), rng.integers(0, classes, shape), np.array(kind)))
    return cases


def _add_block(
    mask: np.ndarray,
    top: int,
    left: int,
    height: int,
    width: int,
    missing: int,
    newly: bool = True,
    below: bool = False,
    always: bool = False,
    longer: int = 0,
) -> tuple:
    """newly: only these are counted; below: a block that hides all that is missing is refused; always: none is
    refused; longer: rows and columns too many."""
    block = np.zeros_like(mask)
    block[top : top + height + longer, left : left + width + longer] = True
    count = int((block & ~mask).sum() if newly else block.sum())
    if not always and not 0 < count <= missing - below:
        return mask.copy(), 0
    return mask | block, count


def _block_alone(mask: np.ndarray, top: int, left: int, height: int, width: int, missing: int) -> tuple:
    after, count = _add_block(mask, top, left, height, width, missing)
    block = _add_block(np.zeros_like(mask), top, left, height, width, mask.size)[0]
    return (block if count else after), count


def _turned(mask: np.ndarray, top: int, left: int, height: int, width: int, missing: int) -> tuple:
    return _add_block(mask, top, left, width, height, missing)


def _hidden_in_all(mask: np.ndarray, top: int, left: int, height: int, width: int, missing: int) -> tuple:
    after, _ = _add_block(mask, top, left, height, width, missing)
    return after, int(after.sum())


def _refused_but_drawn(mask: np.ndarray, top: int, left: int, height: int, width: int, missing: int) -> tuple:
    return (
        _add_block(mask, top, left, height, width, missing, always=True)[0],
        _add_block(mask, top, left, height, width, missing)[1],
    )


def _refused_but_counted(mask: np.ndarray, top: int, left: int, height: int, width: int, missing: int) -> tuple:
    return (
        _add_block(mask, top, left, height, width, missing)[0],
        _add_block(mask, top, left, height, width, missing, always=True)[1],
    )


def _masks(rng: np.random.Generator) -> list[tuple]:
    """Blocks that overlap what is hidden, fit exactly, are one patch too large, or hide nothing new."""
    some = rng.random((5, 7)) < 0.3
    some[1:3, 2:5] = [[True, False, True], [False, False, True]]
    full = np.zeros((6, 4), bool)
    full[2:5, 1:3] = True
    empty = np.zeros((6, 9), bool)
    return [
        (some, 1, 2, 2, 3, 5),
        (some, 1, 2, 2, 3, 3),
        (some, 1, 2, 2, 3, 2),
        (some, 1, 3, 1, 2, 4),
        (full, 2, 1, 3, 2, 9),
        (full, 1, 1, 3, 2, 4),
        (empty, 0, 4, 3, 2, 6),
        (empty, 1, 3, 2, 4, 7),
        (empty, 0, 0, 1, 5, 11),
    ]


def _pixels(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for rows, columns, side, channels in ((2, 3, 2, 3), (3, 2, 4, 2), (1, 4, 3, 3), (4, 1, 2, 5)):
        image = 2 + 3 * rng.standard_normal((rows * side, columns * side, channels))
        hidden = np.arange(rows * columns) % 3 != 1
        cases.append((rng.standard_normal((rows * columns, side * side * channels)), image, hidden, side))
    return cases


def _tokens(
    side: int,
    patch: int,
    unit: int,
    share: float,
    whole: Callable = math.ceil,
    cls: tuple[int, int] = (1, 1),
    left_out: bool = False,
    in_patches: bool = True,
) -> tuple:
    """whole: rounds the squares; cls: [class] tokens of SimMIM and MAE; left_out: of SimMIM's encoder; in_patches: the
    hidden ones."""
    patches, squares = (side // patch) ** 2, whole((side // unit) ** 2 * share)
    hidden = squares * (unit // patch) ** 2 if in_patches else squares
    return hidden, cls[0] + patches - left_out * hidden, cls[1] + int(patches * (1 - share))


def _patch_by_patch(side: int, patch: int, unit: int, share: float) -> tuple:
    return (math.ceil((side // patch) ** 2 * share), *_tokens(side, patch, unit, share)[1:])


def _hidden_in_mae(side: int, patch: int, unit: int, share: float) -> tuple:
    hidden, simmim, _ = _tokens(side, patch, unit, share)
    return hidden, simmim, 1 + int((side // patch) ** 2 * share)


def _rounded_in_mae(side: int, patch: int, unit: int, share: float) -> tuple:
    return (*_tokens(side, patch, unit, share)[:2], 1 + round((side // patch) ** 2 * (1 - share)))


def _class_token_hidden(side: int, patch: int, unit: int, share: float) -> tuple:
    return (*_tokens(side, patch, unit, share)[:2], int((1 + (side // patch) ** 2) * (1 - share)))


def _sizes(rng: np.random.Generator) -> list[tuple]:
    return [(224, 16, 32, 0.6), (32, 4, 8, 0.7), (192, 8, 48, 0.55), (96, 16, 32, 0.4), (32, 2, 16, 0.8)]


TOKEN_SLIPS: dict[str, Callable] = {
    "A part of a square cannot be hidden: the number of squares is rounded up.": partial(_tokens, whole=math.floor),
    "The number of squares is rounded up, not to the nearest.": partial(_tokens, whole=round),
    "The hidden squares are counted. How many patches are in each?": partial(_tokens, in_patches=False),
    "Patches are hidden one by one here. SimMIM hides whole squares.": _patch_by_patch,
    "SimMIM's encoder also gets the hidden patches, as [mask] tokens.": partial(_tokens, left_out=True),
    "Both encoders have a [class] token, too.": partial(_tokens, cls=(0, 0)),
    "MAE's encoder has a [class] token, too.": partial(_tokens, cls=(1, 0)),
    "SimMIM's encoder has a [class] token, too.": partial(_tokens, cls=(0, 1)),
    "MAE's encoder gets the visible patches; these are the hidden ones.": _hidden_in_mae,
    "Of the patches of MAE `int(patches * (1 - share))` stay. `int` cuts off, it does not round.": _rounded_in_mae,
    "MAE never hides the [class] token: count it after the share is taken.": _class_token_hidden,
}


EXERCISES = [
    Exercise(
        "21.1",
        diagnosed(
            _colour,
            _coloured,
            {
                "Blue comes first here. In (3) red has the largest factor.": partial(_colour, order=-1),
                "Bits are cut off every pixel first. The mean comes first.": partial(_colour, first_bits=True),
                "The levels are rounded to the nearest one; (3) rounds down.": partial(_colour, whole=np.rint),
                "A level keeps the first bits of a channel, not the last: by what is 0..255 divided to leave this "
                "many?": lambda patch, bits: _colour(patch, bits, below=bits),
                "The factors 64, 8, 1 belong to 3 bits.": partial(_colour, base=3),
                "A level is a whole number. What do the brackets in (3) do?": partial(_colour, whole=_as_it_is),
                "There are 256 numbers from 0 to 255: a level is not a share of 255.": _share_of_255,
                "One number for all channels is the level of grey. Each channel has its own level.": _grey,
                "These are the three levels. One number is asked.": _levels,
            },
            where={"there are not 3 bits": lambda patch, bits: bits != 3},
            allowed=(),
        ),
        "The levels are the digits of the class in base 2^bits.",
    ),
    Exercise(
        "21.2",
        diagnosed(
            loss_of_chosen,
            _chosen,
            LOSS_SLIPS,
            allowed=(),
            results="loss dz",
        ),
        "Kind 3 looks like a patch that was not chosen, and counts. So no visible patch is safe from the question.",
    ),
    Exercise(
        "21.3",
        diagnosed(
            _add_block,
            _masks,
            {
                "A patch that is hidden already counts as new.": partial(_add_block, newly=False),
                "A block that hides exactly as many as are missing is welcome.": partial(_add_block, below=True),
                "A block that hides too many, or nothing new, is refused.": partial(_add_block, always=True),
                "A block is one row and one column too large.": partial(_add_block, longer=1),
                "Height and width of the block are exchanged.": _turned,
                "What was hidden before stays hidden.": _block_alone,
                "The mask is right. The number is that of the newly hidden patches, not of all.": _hidden_in_all,
                "The number is right. A refused block leaves the mask as it was.": _refused_but_drawn,
                "The mask is right. A refused block hides nothing.": _refused_but_counted,
            },
            where={
                "the block hides more than is missing, or nothing new": (
                    lambda *arguments: _add_block(*arguments)[1] == 0
                ),
                "the block overlaps what is hidden": lambda mask, top, left, height, width, missing: bool(
                    mask[top : top + height, left : left + width].any()
                ),
            },
            allowed=(),
            results="mask count",
        ),
        "Blocks may overlap, and the area of a block is only an upper bound for what it adds.",
    ),
    Exercise(
        "21.4",
        diagnosed(pixel_loss, _pixels, PIXEL_SLIPS, allowed=(), results="loss dy"),
        "A slip in the order still trains: the network just learns the pixels in that order. It shows with "
        "published weights.",
    ),
    Exercise(
        "21.5",
        diagnosed(
            _tokens,
            _sizes,
            TOKEN_SLIPS,
            allowed=(),
            results="hidden simmim mae",
        ),
        "With 60 % hidden SimMIM's encoder has about two and a half times as many tokens as MAE's; with MAE's own 75 % "
        "it would be four times.",
    ),
]
