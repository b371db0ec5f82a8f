"""The hidden checks of A6. Lengths are drawn; what a list of cases has to hold is written beside it."""

import numpy as np
from visible import parameters


def lengths(rng, count, low=2, high=6):
    """So many pairwise different lengths, low..high."""
    return [int(n) for n in low + rng.permutation(high - low + 1)[:count]]


def rows_of(rng, *shape):
    """Attention matrices: positive, rows that sum to 1."""
    powers = np.exp(1.5 * rng.normal(size=shape))
    return powers / powers.sum(axis=-1, keepdims=True)


def configuration(**changes):
    """A small model. Nothing in it is square, though its 2 x 8 patches could be 4 x 4."""
    start = {"image_size": (6, 16), "patch_size": (3, 2), "channels": 2, "width": 12, "depth": 2, "heads": 3}
    start.update(mlp_width=7, num_classes=5, classifier="token", gelu="tanh", norm_eps=1e-6)
    return {**start, **changes}


def grids(rng):
    """(old grid, new grid, prefix, D): finer, as many patches in another grid, coarser, finer and coarser, to and from
    one row or column, one patch, all lengths equal, drawn."""
    a, b, c, d = lengths(rng, 4, 2, 6)
    yield (2, 3), (4, 6), 1, 5
    yield (2, 6), (3, 4), 1, 3
    yield (6, 5), (2, 3), 2, 4
    yield (3, 4), (5, 2), 0, 3
    yield (4, 3), (1, 5), 1, 2
    yield (3, 2), (4, 1), 2, 3
    yield (1, 4), (3, 5), 0, 2
    yield (5, 1), (2, 3), 1, 4
    yield (3, 4), (1, 1), 1, 3
    yield (3, 3), (5, 5), 0, 3
    yield (4, 4), (3, 3), 1, 4
    yield (2, 2), (7, 9), 2, 2
    yield (a, b), (c, d), int(rng.integers(0, 3)), int(rng.integers(2, 6))


def resizing(t, method):
    for old, new, prefix, width in grids(t.rng):
        table = t.rng.normal(size=(1, prefix + old[0] * old[1], width))
        t.agree("resize_positions", table, old, new, prefix, method)


def q1_h_align_corners(t):
    resizing(t, "align_corners")


def q1_h_half_pixel(t):
    resizing(t, "half_pixel")


def q1_h_ramps(t):
    """A table that is linear in row and column stays so, from corner to corner."""
    for (rows, columns), (more, others), prefix in (((2, 3), (5, 4), 1), ((4, 2), (3, 6), 0), ((3, 5), (3, 3), 2)):
        start, down, across = t.rng.normal(size=(3, 4))
        y, x = np.linspace(0, 1, more), np.linspace(0, 1, others)
        want = start + y[:, None, None] * down + x[:, None] * across
        y, x = np.linspace(0, 1, rows), np.linspace(0, 1, columns)
        table = start + y[:, None, None] * down + x[:, None] * across
        first = t.rng.normal(size=(prefix, 4))
        table = np.concatenate([first, table.reshape(-1, 4)])[None]
        got = t.call("resize_positions", table, (rows, columns), (more, others), prefix, "align_corners")
        t.close(got, np.concatenate([first, want.reshape(-1, 4)])[None], what="the resized ramp")


def other_sizes(rng):
    """(image size, classes): larger, as many patches in another grid, smaller, as it is with more classes, other
    columns alone, other rows alone."""
    yield (12, 10), 4
    yield (24, 4), 9
    yield (3, int(2 * rng.integers(6, 8))), 3
    yield (6, 16), 6
    yield (6, 10), 4
    yield (9, 16), 3


def q2_h_token(t):
    config = configuration()
    for size, classes in other_sizes(t.rng):
        params = parameters(t.rng, config)
        t.agree("adapt", params, config, configuration(image_size=size, num_classes=classes))


def q2_h_gap(t):
    config = configuration(classifier="gap", width=6, heads=2, depth=1)
    for size, classes in other_sizes(t.rng):
        params = parameters(t.rng, config)
        t.agree("adapt", params, config, {**config, "image_size": size, "num_classes": classes})


def q2_h_as_many_classes(t):
    """As many classes as before are other classes: the head is new, with another image size and with the same one."""
    for classifier in ("token", "gap"):
        config = configuration(classifier=classifier)
        for size in ((9, 8), (6, 16)):
            t.agree("adapt", parameters(t.rng, config), config, {**config, "image_size": size})


def q2_h_copies(t):
    """No array of the result lies in the memory of the given ones."""
    config = configuration(depth=1)
    for new in (configuration(depth=1, image_size=(9, 8), num_classes=3), config):
        t.agree("adapt", t.apart(parameters(t.rng, config)), config, new)


def maps(t, config, batch):
    images = t.rng.normal(size=(batch, *config["image_size"], config["channels"]))
    t.agree("attention_maps", parameters(t.rng, config), config, images, rtol=1e-8)


def q3_h_token(t):
    maps(t, configuration(), 2)
    maps(t, configuration(width=8, heads=4, depth=3, image_size=(9, 4), channels=1), 3)


def q3_h_gap(t):
    maps(t, configuration(classifier="gap", gelu="erf", norm_eps=1e-3, image_size=(9, 4)), 2)
    maps(t, configuration(classifier="gap", width=4, heads=2, depth=3, image_size=(4, 4), patch_size=(2, 2)), 4)


def q3_h_eps(t):
    """An eps that shows, and tokens of small spread."""
    maps(t, configuration(norm_eps=0.5, gelu="erf", heads=2), 1)


def q3_h_twelve_blocks(t):
    maps(t, configuration(depth=12, width=6, heads=2, mlp_width=5), 2)


def q4_h_rollout(t):
    """One to five layers; L, B, H and T different, and equal."""
    for layers in range(1, 6):
        batch, heads, tokens = lengths(t.rng, 3, 2, 6)
        t.agree("rollout", rows_of(t.rng, layers, batch, heads, tokens, tokens))
    n = int(t.rng.integers(3, 5))
    t.agree("rollout", rows_of(t.rng, n, n, n, n, n))
    t.agree("rollout", rows_of(t.rng, 4, 1, 1, 3, 3))


def q4_h_read(t):
    """Both classifiers, oblong grids, one of them with oblong patches of a square image."""
    shapes = (
        ((4, 16), (2, 2)),
        ((4, 4), (2, 1)),
        ((6, 12), (3, 2)),
        ((9, 4), (3, 2)),
        ((3, 6), (3, 3)),
        ((6, 6), (3, 3)),
        ((9, 10), (3, 2)),
    )
    for classifier in ("token", "gap"):
        for size, patch in shapes:
            config = configuration(image_size=size, patch_size=patch, classifier=classifier)
            tokens = (size[0] // patch[0]) * (size[1] // patch[1]) + (classifier == "token")
            matrix = rows_of(t.rng, int(t.rng.integers(1, 4)), tokens, tokens)
            t.agree("read_by_head", matrix, config)


def reaches(rng):
    """(grid, pitch, prefix, leading axes): other steps down than across, 0 to 2 tokens before, none to three axes."""
    rows, columns = lengths(rng, 2, 2, 5)
    yield (2, 3), (8.0, 8.0), 0, (2,)
    yield (3, 2), (16, 8), 0, (2, 3)
    yield (2, 4), (4.0, 12.0), 1, (2, 1, 3)
    yield (rows, columns), (6.5, 10.0), 1, ()
    yield (columns, rows), (6.5, 10.0), 2, (3,)
    yield (1, 5), (3.0, 7.0), 1, (2,)
    yield (4, 1), (3.0, 7.0), 2, (2,)
    yield (3, 3), (14.0, 14.0), 1, (3, 3)


def q5_h_reach(t):
    for grid, pitch, prefix, axes in reaches(t.rng):
        tokens = prefix + grid[0] * grid[1]
        t.agree("attention_distance", rows_of(t.rng, *axes, tokens, tokens), grid, pitch)


def q5_h_uniform(t):
    """Each token looks at one other alone; and everywhere alike."""
    for grid, pitch, prefix, axes in reaches(t.rng):
        tokens = prefix + grid[0] * grid[1]
        among = np.eye(tokens)[np.concatenate([np.arange(prefix), prefix + t.rng.permutation(tokens - prefix)])]
        t.agree("attention_distance", np.broadcast_to(among, (*axes, tokens, tokens)).copy(), grid, pitch, atol=1e-9)
        t.agree("attention_distance", np.full((*axes, tokens, tokens), 1 / tokens), grid, pitch)


def q6_h_grids(t):
    """Oblong grids both ways round, more and fewer features than patches, embeddings of different lengths."""
    rows, columns = lengths(t.rng, 2, 2, 5)
    for grid, width in (((2, 3), 4), ((rows, columns), 7), ((columns, rows), 3), ((3, 3), 9), ((2, 2), 4), ((1, 4), 2)):
        table = t.rng.normal(size=(grid[0] * grid[1], width)) + 0.5
        table *= t.rng.uniform(0.1, 5, (len(table), 1))
        t.agree("position_similarity", table, grid)


def clouds(rng):
    """(samples, count) of known axes, of standard deviations that differ, about a mean far from 0: more samples than
    numbers in one, fewer, as many; samples with one to three axes."""
    for count, (samples, shape, rank) in enumerate(
        ((30, (4,), 4), (5, (3, 4), 4), (12, (2, 3, 2), 5), (4, (4,), 3)), 1
    ):
        features = int(np.prod(shape))
        scores = rng.normal(size=(samples, rank))
        scores, _ = np.linalg.qr(scores - scores.mean(axis=0))
        axes, _ = np.linalg.qr(rng.normal(size=(features, rank)))
        sizes = rng.uniform(1, 3) * 2.0 ** -np.arange(rank)
        cloud = (scores * sizes) @ axes.T + rng.uniform(2, 4, features) * rng.choice([-1, 1], features)
        yield cloud.reshape(samples, *shape), min(count, rank)


def turned(components, towards):
    """The components with the signs of others, if the shapes agree."""
    try:
        components = np.asarray(components)
    except ValueError:
        return components
    if components.shape != towards.shape or components.dtype.kind not in "if":
        return components
    products = (components * towards).reshape(len(components), -1).sum(axis=1)
    return components * np.where(products < 0, -1.0, 1.0).reshape(-1, *[1] * (components.ndim - 1))


def parts(t, result):
    pair = isinstance(result, (list, tuple)) and len(result) == 2
    t.require(pair, "principal_components returns a pair, (components, share)")
    return result if pair else (np.zeros(0), np.zeros(0))


def q7_h_components(t):
    for samples, count in clouds(t.rng):
        got, want = t.call("principal_components", samples, count), t.ref("principal_components", samples, count)
        t.close(turned(parts(t, got)[0], want[0]), want[0], 1e-5, what="the components, up to their signs")


def q7_h_shares(t):
    for samples, count in clouds(t.rng):
        got, want = t.call("principal_components", samples, count), t.ref("principal_components", samples, count)
        t.close(parts(t, got)[1], want[1], 1e-7, what="the shares")
