"""Exercises of notebook 18, looking inside."""

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number
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


def _attention(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Weights that are positive and sum to 1 over the last axis."""
    e = np.exp(rng.standard_normal(shape))
    return e / e.sum(axis=-1, keepdims=True)


def _blocks(rng: np.random.Generator) -> list[tuple]:
    return [(_attention(rng, *shape), rng.uniform(0.2, 0.8, shape[0])) for shape in ((3, 2, 4, 4), (2, 3, 5, 5))]


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


def _grids(rng: np.random.Generator) -> list[tuple]:
    cases = (((2, 3), (4.0, 5.0), 2), ((4, 2), (3.0, 2.0), 3))
    return [
        (_attention(rng, heads, 1 + rows * columns, 1 + rows * columns), (rows, columns), pitch)
        for (rows, columns), pitch, heads in cases
    ]


def _by_length(A, v, U):
    heads, _, K = v.shape
    values = np.einsum("hjk,hkd->hjd", v, U.reshape(heads, K, -1))  # what each head would hand over, projected
    return _row_shares(np.linalg.norm(np.einsum("hij,hjd->ijd", A, values), axis=-1))


def _row_shares(lengths):
    return lengths / lengths.sum(axis=-1, keepdims=True)


def _over_queries(A, v, U):
    """Shares that sum to 1 over i."""
    heads, _, K = v.shape
    values = np.einsum("hjk,hkd->hjd", v, U.reshape(heads, K, -1))
    lengths = np.linalg.norm(np.einsum("hij,hjd->ijd", A, values), axis=-1)
    return lengths / lengths.sum(axis=0)


def _lengths_of_heads_added(A, v, U):
    heads, _, K = v.shape
    lengths = np.linalg.norm(np.einsum("hjk,hkd->hjd", v, U.reshape(heads, K, -1)), axis=-1)
    return _row_shares(np.einsum("hij,hj->ij", A, lengths))


def _not_projected(A, v, U):
    return _row_shares(np.linalg.norm(np.einsum("hij,hjk->ijhk", A, v), axis=(-2, -1)))


def _heads_last(A, v, U):
    """Rows of U taken in the order (K, H)."""
    heads, _, K = v.shape
    return _by_length(A, v, U.reshape(K, heads, -1).swapaxes(0, 1).reshape(heads * K, -1))


def _length_of_sum(A, v, U):
    """One vector for each j: the weights of all queries added up."""
    heads, _, K = v.shape
    values = np.einsum("hjk,hkd->hjd", v, U.reshape(heads, K, -1))
    f = np.einsum("hij,hjd->ijd", A, values)
    return np.linalg.norm(f, axis=-1) / np.linalg.norm(f.sum(axis=1), axis=-1, keepdims=True)


def _heads(rng: np.random.Generator) -> list[tuple]:
    return [
        (_attention(rng, h, n, n), rng.standard_normal((h, n, k)), rng.standard_normal((h * k, d)))
        for h, n, k, d in ((2, 4, 3, 5), (3, 5, 2, 7))
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
                32 / 3: "This is the sum of three queries; the attention distance is their mean.",
            },
            rtol=2e-3,  # 3.56 will do
        ),
        "(4 + 8/3 + 4) / 3. At the rim everything is further away, so uniform attention has no one distance.",
    ),
    Exercise(
        "18.2",
        function_like(
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
            },
        ),
        "In each step what was there is kept in part. With share 1 the rollout is the identity, whatever attention "
        "does.",
    ),
    Exercise(
        "18.3",
        function_like(
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
                "This counts patches; the distance is in pixels.": (
                    lambda attention, grid, pitch: _to_others(attention, grid, (1, 1))
                ),
                "Patches are numbered row by row: patch i is in row i // columns and column i % columns.": (
                    lambda attention, grid, pitch: _to_others(attention, grid[::-1], pitch)
                ),
            },
        ),
        "A head that looks at itself and at one far patch has a small distance in the one definition and a large one "
        "in the other: say which you report.",
    ),
    Exercise(
        "18.4",
        function_like(
            _by_length,
            _heads,
            {
                "The lengths of the heads' parts are added here. The parts are vectors and may cancel: add them, then "
                "take the length.": _lengths_of_heads_added,
                "The projection is missing. It decides how long a vector is in the residual stream.": _not_projected,
                "The rows of U belong to head 0 first, then to head 1: reshape to (H, K, D), not to (K, H, D).": (
                    _heads_last
                ),
                "The shares of what token i gets sum to 1 over j, the last axis.": _over_queries,
                "The denominator is the sum of the lengths, not the length of the sum.": _length_of_sum,
                "This is the mean of the attention weights: the values do not enter.": lambda A, v, U: A.mean(axis=0),
            },
        ),
        "A large weight on a short value is little. Kobayashi et al. found just that for the separator tokens of BERT.",
    ),
]
