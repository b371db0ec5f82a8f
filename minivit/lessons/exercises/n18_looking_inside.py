"""Exercises of notebook 18, looking inside."""

from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import number
from minivit.lessons.slips.lengths import SLIPS, shares_by_length
from minivit.models.inside import patch_distances


def _rollout(attention, kept):
    mixed = np.eye(attention.shape[-1])
    for weights, share in zip(attention.mean(axis=1), kept, strict=True):
        mixed = share * mixed + (1 - share) * weights @ mixed
    return mixed


def _half_everywhere(attention, kept):
    return _rollout(attention, np.full(len(kept), 0.5))


def _shares_exchanged(attention, kept):
    return _rollout(attention, 1 - kept)


def _last_block_first(attention, kept):
    return _rollout(attention[::-1], kept[::-1])


def _heads_added(attention, kept):
    return _rollout(attention * attention.shape[1], kept)


def _nothing_weighted(attention, kept):
    """I + A: rows double in every block."""
    return 2.0 ** len(kept) * _half_everywhere(attention, kept)


def _residual_only_added(attention, kept):
    """kept I + A."""
    mixed = np.eye(attention.shape[-1])
    for weights, share in zip(attention.mean(axis=1), kept, strict=True):
        mixed = (share * np.eye(len(mixed)) + weights) @ mixed
    return mixed


def _heads_apart(attention, kept):
    """A rollout for each head, the mean of them at the end."""
    return np.mean([_rollout(attention[:, h : h + 1], kept) for h in range(attention.shape[1])], axis=0)


def _only_last(attention, kept):
    return _rollout(attention[-1:], kept[-1:])


def _largest_head(attention, kept):
    return _rollout(attention.max(axis=1, keepdims=True), kept)


def _without_first(attention, kept):
    """What the first block does is left out."""
    return _rollout(attention[1:], kept[1:])


def _entry_by_entry(attention, kept):
    mixed = np.ones(attention.shape[-2:])
    for weights, share in zip(attention.mean(axis=1), kept, strict=True):
        mixed = mixed * (share * np.eye(len(mixed)) + (1 - share) * weights)
    return mixed


def _mean_of_blocks(attention, kept):
    n = attention.shape[-1]
    return np.mean([_rollout(attention[i : i + 1], kept[i : i + 1]) for i in range(len(kept))], axis=0).reshape(n, n)


def _attention(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Weights that are positive and sum to 1 over the last axis."""
    e = np.exp(rng.standard_normal(shape))
    return e / e.sum(axis=-1, keepdims=True)


def _blocks(rng: np.random.Generator) -> list[tuple]:
    return [
        (_attention(rng, *shape), rng.uniform(0.2, 0.8, shape[0]))
        for shape in ((3, 2, 4, 4), (2, 3, 5, 5), (1, 4, 3, 3))
    ]


def _to_others(attention, grid, pitch, leave_out_self=True, rescale=True, over=-1):
    """Mean distance per head; with the query itself, without rescaling, or with queries and keys exchanged."""
    weights = attention[:, 1:, 1:] * (1 - leave_out_self * np.eye(grid[0] * grid[1]))
    reach = (weights * patch_distances(grid, pitch)).sum(axis=over)
    return (reach / weights.sum(axis=over) if rescale else reach).mean(axis=-1)


def _one_mean_for_all(attention, grid, pitch):
    """The sum over queries and keys, divided once by that of all weights."""
    weights = attention[:, 1:, 1:] * (1 - np.eye(grid[0] * grid[1]))
    return (weights * patch_distances(grid, pitch)).sum(axis=(1, 2)) / weights.sum(axis=(1, 2))


def _class_not_last(attention, grid, pitch):
    """The last token taken for [class]."""
    return _to_others(np.roll(attention, 1, axis=(1, 2)), grid, pitch)


def _class_in_sum(attention, grid, pitch):
    weights = attention[:, 1:] * (1 - np.eye(1 + grid[0] * grid[1]))[1:]
    return ((weights[:, :, 1:] * patch_distances(grid, pitch)).sum(axis=-1) / weights.sum(axis=-1)).mean(axis=-1)


def _blocks_apart(attention, grid, pitch, of=lambda d: np.abs(d).sum(axis=-1)):
    """Another distance: across and down are added."""
    places = np.stack(np.divmod(np.arange(grid[0] * grid[1]), grid[1]), axis=1) * np.array(pitch)
    distances = of(places[:, None] - places)
    weights = attention[:, 1:, 1:] * (1 - np.eye(len(places)))
    return ((weights * distances).sum(axis=-1) / weights.sum(axis=-1)).mean(axis=-1)


def _grids(rng: np.random.Generator) -> list[tuple]:
    cases = (((2, 3), (4.0, 5.0), 2), ((4, 2), (3.0, 2.0), 3), ((1, 5), (2.0, 7.0), 2), ((2, 2), (1.0, 3.0), 1))
    return [
        (_attention(rng, heads, 1 + rows * columns, 1 + rows * columns), (rows, columns), pitch)
        for (rows, columns), pitch, heads in cases
    ]


def _heads(rng: np.random.Generator) -> list[tuple]:
    return [
        (_attention(rng, h, n, n), rng.standard_normal((h, n, k)), rng.standard_normal((h * k, d)))
        for h, n, k, d in ((2, 4, 3, 5), (3, 5, 2, 7), (1, 3, 4, 2), (4, 6, 2, 8))
    ]


EXERCISES = [
    Exercise(
        "18.1",
        number(
            32 / 9,
            {
                16 / 3: "Uniform attention gives a third of the weight to the patch itself, at distance 0.",
                8 / 9: "This is in patches; a patch is 4 pixels wide.",
                4: "This is right for the two patches at the ends; the one in the middle has its neighbours nearer.",
                8 / 3: "This is right for the patch in the middle; those at the ends have further to go.",
                4 / 3: "This is in patches, and without the patch itself, which has a third of the weight.",
                8: "This is the largest distance, from end to end; the weights are spread over all three patches.",
                2: "The patches are 4 pixels wide, and their middles 4 pixels apart.",
                64 / 9: "The middles of neighbouring patches are 4 pixels apart, not 8.",
                32: "This is the sum over all pairs; each query has its mean, and the head the mean of these.",
                32 / 3: "This is the sum of three queries; the attention distance is their mean.",
            },
            rtol=2e-3,  # 3.56 will do
        ),
        "(4 + 8/3 + 4) / 3. At the rim everything is further away, so uniform attention has no one distance.",
    ),
    Exercise(
        "18.2",
        diagnosed(
            _rollout,
            _blocks,
            {
                "This is the rollout with one half everywhere; `kept` has a share for every block.": _half_everywhere,
                "The shares are exchanged: kept[l] is that of the residual connection, the identity, and 1 - kept[l] "
                "that of attention.": _shares_exchanged,
                "The blocks are in the wrong order: the first block acts first, so its matrix stands on the "
                "right.": _last_block_first,
                "The heads are added. Take their mean, so that rows still sum to 1.": _heads_added,
                "I + A without weights: rows sum to 2 after one block, to 4 after two.": _nothing_weighted,
                "Attention is to have the share 1 - kept[l]; here it counts fully, and rows sum to more than "
                "1.": _residual_only_added,
                "This rolls out every head for itself. Heads are mixed in every block, so take the mean "
                "first.": _heads_apart,
                "The residual connection is missing.": lambda attention, kept: _rollout(attention, 0 * kept),
                "This is the last block alone; the matrices of all blocks are multiplied.": _only_last,
                "The first block is missing.": _without_first,
                "Take the mean over the heads, not the largest.": _largest_head,
                "The matrices of the blocks are multiplied as matrices (@), not entry by entry.": _entry_by_entry,
                "The matrices of the blocks are multiplied; this is their mean.": _mean_of_blocks,
            },
            where={"there is more than one block": lambda attention, kept: len(kept) > 1},
            allowed=(),
        ),
        "In each step what was there is kept in part. With share 1 the rollout is the identity, whatever attention "
        "does.",
    ),
    Exercise(
        "18.3",
        diagnosed(
            _to_others,
            _grids,
            {
                "This is the library's distance: the query itself still counts, with distance 0, in the sum of the "
                "weights.": lambda attention, grid, pitch: _to_others(attention, grid, pitch, leave_out_self=False),
                "The weights that are left sum to less than 1: divide by their sum, for each query.": (
                    lambda attention, grid, pitch: _to_others(attention, grid, pitch, rescale=False)
                ),
                "The sum is over the queries here; each query has its own mean over the keys, the last axis.": (
                    lambda attention, grid, pitch: _to_others(attention, grid, pitch, over=-2)
                ),
                "Each query has its own mean, divided by the sum of its own weights; then comes the mean over the "
                "queries.": _one_mean_for_all,
                "Token 0 is [class], not the last one.": _class_not_last,
                "pitch is (down, across): rows are pitch[0] apart, columns pitch[1].": (
                    lambda attention, grid, pitch: _to_others(attention, grid, pitch[::-1])
                ),
                "As queries the first tokens were taken, [class] among them: patch i is token i + 1.": (
                    lambda attention, grid, pitch: _to_others(np.roll(attention, 1, axis=1), grid, pitch)
                ),
                "As keys the first tokens were taken, [class] among them: patch j is token j + 1.": (
                    lambda attention, grid, pitch: _to_others(np.roll(attention, 1, axis=2), grid, pitch)
                ),
                "This counts patches; the distance is in pixels.": (
                    lambda attention, grid, pitch: _to_others(attention, grid, (1, 1))
                ),
                "Patches are numbered row by row: patch i is in row i // columns and column i % columns.": (
                    lambda attention, grid, pitch: _to_others(attention, grid[::-1], pitch)
                ),
                "The distance is the straight line, the root of the sum of the squares, not down plus across.": (
                    _blocks_apart
                ),
                "This is the mean of the squared distances: the root is missing.": (
                    partial(_blocks_apart, of=lambda d: (d**2).sum(axis=-1))
                ),
                "The distance is the straight line, not the larger one of down and across.": (
                    partial(_blocks_apart, of=lambda d: np.abs(d).max(axis=-1))
                ),
                "The weights of the other patches sum to 1: the weight of [class] does not count in their sum "
                "either.": _class_in_sum,
                "Queries are patches as well: this gives a sum over them, not a mean.": (
                    lambda attention, grid, pitch: _to_others(attention, grid, pitch) * (attention.shape[1] - 1)
                ),
            },
            where={
                "there is more than one row of patches": lambda attention, grid, pitch: grid[0] > 1,
                "there is more than one head": lambda attention, grid, pitch: len(attention) > 1,
            },
            allowed=("patch_distances", "patch_positions"),
        ),
        "A head that looks at itself and at one far patch has a small distance in the one definition and a large one "
        "in the other: say which you report.",
    ),
    Exercise(
        "18.4",
        diagnosed(
            shares_by_length,
            _heads,
            SLIPS,
            where={"there is more than one head": lambda A, v, U: len(A) > 1},
            allowed=(),
        ),
        "A large weight on a short value is little. Kobayashi et al. found just that for the separator tokens of BERT.",
    ),
]
