"""Judge of exercise 16.4: the smallest patch that a budget allows, with typical slips."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minivit.lessons.calling import NO_RETURN
from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Wrong
from minivit.lessons.judges import run


def _block_flop(N: float, D: int, M: int, of_attention: float = 4, of_projections: float = 8) -> float:
    return of_projections * N * D**2 + of_attention * N**2 * D + 4 * N * D * M


def _smallest_patch(
    side: int,
    D: int,
    L: int,
    budget: float,
    *,
    class_tokens: int = 0,
    width: int = 4,
    share: float = 1,
    flop: Callable[..., float] = _block_flop,
    sides: Callable[[int], range] = lambda side: range(1, side + 1),
    divides: bool = True,
    below: bool = False,
) -> int:
    """-1 if there is none: answers are compared as numbers.   share: of the right arithmetic.   width: M / D.

    sides: the patches to try.   divides: whether they must divide the side.   below: not at the budget itself.
    """
    for patch in sides(side):
        price = share * L * flop((side // patch) ** 2 + class_tokens, D, width * D)
        if (side % patch == 0 or not divides) and (price < budget if below else price <= budget):
            return patch
    return -1


def _patch_number(side: int, D: int, L: int, budget: float) -> int:
    return _smallest_patch(side, D, L, budget)


def _exactly(side: int, D: int, L: int, patch: int, share: float = 1) -> tuple:
    """The case whose budget is just enough for this patch, or a share of that."""
    return side, D, L, share * L * _block_flop((side // patch) ** 2, D, 4 * D)


_BUDGETS = [
    (224, 768, 12, 40e9),
    (32, 64, 4, 8e6),
    (48, 64, 2, 1e9),
    (30, 128, 3, 2e8),
    (32, 64, 4, 1e5),
    (36, 48, 4, 3e7),
    _exactly(24, 32, 2, 4, 1.01),  # enough for 36 tokens, not for 37
    _exactly(28, 16, 3, 4),
    _exactly(44, 3, 5, 11),
    _exactly(45, 24, 5, 9, 1.2),
    _exactly(13, 40, 1, 13, 1.5),  # one patch
    _exactly(40, 8, 6, 1, 1.3),
    _exactly(96, 4, 2, 3),  # mostly attention
    _exactly(60, 200, 2, 12, 0.99),
]


def _cases(rng: np.random.Generator) -> list[tuple]:
    """Those above, and budgets near the price of some patch."""
    shares, widths = rng.uniform(0.4, 1.3, 24), rng.integers(3, 60, 24)
    sides = [(24, 3), (30, 5), (36, 6), (40, 8), (42, 7), (60, 4)] * 4
    return _BUDGETS + [
        _exactly(side, int(D), 3, patch, share) for (side, patch), D, share in zip(sides, widths, shares, strict=True)
    ]


def _patch_or_minus_one(patch: Any) -> Any:
    """A number below 1 as none that could be right."""
    return -2 if isinstance(patch, int | float) and patch < 1 else patch


def judge_patch(answer: Any) -> str | None:
    """The error in an answer to exercise 16.4, or None; an answer of None means that no patch is affordable."""

    def as_number(side: int, D: int, L: int, budget: float) -> Any:
        case = side, D, L, budget
        try:
            return _patch_or_minus_one(run(answer, *case))
        except Wrong as wrong:
            if str(wrong).startswith(NO_RETURN) and case != _BUDGETS[0]:  # which has an answer other than None
                return -1
            raise

    return _PATCHES(as_number)


def _zero_for_none(side: int, D: int, L: int, budget: float) -> int:
    patch = _smallest_patch(side, D, L, budget)
    return -2 if patch < 0 else patch


def _side_for_none(side: int, D: int, L: int, budget: float) -> int:
    patch = _smallest_patch(side, D, L, budget)
    return side if patch < 0 else patch


def _patches_per_side(side: int, D: int, L: int, budget: float) -> int:
    patch = _smallest_patch(side, D, L, budget)
    return patch if patch < 0 else side // patch


def _tokens_of_one_side(N: float, D: int, M: int) -> float:
    return _block_flop(N**0.5, D, M)


_PATCHES = diagnosed(
    _patch_number,
    _cases,
    {
        "A patch must divide the side of the image.": partial(_smallest_patch, divides=False),
        "This is the largest patch, the cheapest model.": (
            partial(_smallest_patch, sides=lambda side: range(side, 0, -1))
        ),
        "This leaves out the products inside attention.": partial(
            _smallest_patch, flop=partial(_block_flop, of_attention=0)
        ),
        "Inside attention there are two products, q k^T and A v: 4 N^2 D.": (
            partial(_smallest_patch, flop=partial(_block_flop, of_attention=2))
        ),
        "This counts a [class] token, and there is none here.": partial(_smallest_patch, class_tokens=1),
        "If even a single patch is too expensive, return None.": _zero_for_none,
        "If even a single patch is too expensive, return None, not the side of the image.": _side_for_none,
        "These are multiply-adds; the budget is in FLOP, two for each.": partial(_smallest_patch, share=0.5),
        "This counts twice as much as there is: a multiply-add is two FLOP.": partial(_smallest_patch, share=2),
        "There are L blocks; this counts one.": lambda side, D, L, budget: _smallest_patch(side, D, 1, budget),
        "F is 4D; this counts an MLP of width D.": partial(_smallest_patch, width=1),
        "8 N D^2 are missing: the projections of attention or one product of the MLP.": partial(
            _smallest_patch, width=2
        ),
        "The MLP is missing.": partial(_smallest_patch, width=0),
        "Attention has four projections, 8 N D^2; this counts three.": (
            partial(_smallest_patch, flop=partial(_block_flop, of_projections=6))
        ),
        "The tokens are the square of the patches along one side.": partial(_smallest_patch, flop=_tokens_of_one_side),
        "A model whose price is just the budget can be afforded.": partial(_smallest_patch, below=True),
        "A single patch, as large as the image, is allowed as well.": (
            partial(_smallest_patch, sides=lambda side: range(1, side))
        ),
        "A patch of one pixel is allowed as well.": partial(_smallest_patch, sides=lambda side: range(2, side + 1)),
        "Patches of odd sides are allowed as well.": partial(_smallest_patch, sides=lambda side: range(2, side + 1, 2)),
        "This is the number of patches along the side; return the side of a patch.": _patches_per_side,
    },
    where={
        "there is nothing to afford": lambda *case: _smallest_patch(*case) < 0,
        "the price is just the budget": lambda *case: _smallest_patch(*case) != _smallest_patch(*case, below=True),
    },
)
