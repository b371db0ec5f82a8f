"""The hidden checks of A2. Lengths are drawn; each list of cases holds different lengths and equal ones."""

import numpy as np

SMALL = 1e-12  # with two features and a small eps the gradient of x is almost 0, the difference of large numbers
NOISE = 1e-11  # rounding of 2e4; where all is decided a loss and its gradient are 0 up to this


def lengths(rng, count, low=2, high=7):
    """So many pairwise different lengths, low..high."""
    return [int(n) for n in low + rng.permutation(high - low + 1)[:count]]


def values(rng, *shape):
    return rng.normal(size=shape)


def image_cases(rng):
    """(B, (h, w), (ph, pw), C).

    A square image of oblong patches, where a wrong order of lengths still fits; different lengths both ways round, all
    square, one channel, single pixels, one patch, one row or column of patches. One image with two patches, and one
    patch with two images of as many pixels: nothing may be left from the call before.
    """
    batch, ph, pw, rows, columns = lengths(rng, 5, 1, 6)
    channels = int(rng.choice([2, 3, 4]))
    n = int(rng.integers(2, 4))
    yield 3, (24, 24), (2, 8), 2  # a grid of 12 x 3: not square, but 36 is 6 x 6
    yield 2, (24, 24), (8, 2), 2
    yield 1, (48, 12), (8, 2), 2
    yield batch, (rows * ph, columns * pw), (ph, pw), channels
    yield 2, (columns * pw, rows * ph), (pw, ph), channels
    yield n, (n * n, n * n), (n, n), n
    yield 2, (2 * 3, 4 * 2), (3, 2), 1
    yield 1, (rows, columns), (1, 1), channels
    yield 2, (ph + 1, pw), (ph + 1, pw), channels
    yield 2, (2, 5 * 3), (2, 3), 2  # 12 numbers in a patch, as in one of 2 x 2 pixels with three channels
    yield 2, (5 * 3, 2), (3, 2), 4
    yield 1, (1, 6), (1, 2), 2
    yield 3, (4, 4), (2, 2), 3


def q1_h_patchify(t):
    for batch, (height, width), patch, channels in image_cases(t.rng):
        t.agree("patchify", values(t.rng, batch, height, width, channels), patch, rtol=0)


def q1_h_unpatchify(t):
    for batch, (height, width), patch, channels in image_cases(t.rng):
        count = (height // patch[0]) * (width // patch[1])
        patches = values(t.rng, batch, count, patch[0] * patch[1] * channels)
        t.agree("unpatchify", patches, patch, (height, width), rtol=0)


def embed_cases(rng):
    """(B, N, P, D): 1+N = B = P = D, all different, one image, one patch."""
    n = int(rng.integers(3, 6))
    yield n, n - 1, n, n
    yield lengths(rng, 4)
    yield 1, *lengths(rng, 3)
    yield 3, 1, 4, 2
    yield 2, *lengths(rng, 2, 5, 7), 2


def embed_arguments(rng, batch, count, features, width):
    weight, bias = values(rng, features, width), values(rng, width)
    return (
        values(rng, batch, count, features),
        weight,
        bias,
        values(rng, 1, 1, width),
        values(rng, 1, 1 + count, width),
    )


def q2_h_embed(t):
    for sizes in embed_cases(t.rng):
        t.agree("embed", *embed_arguments(t.rng, *sizes))


def q2_h_gradients(t):
    for batch, count, features, width in embed_cases(t.rng):
        arguments = embed_arguments(t.rng, batch, count, features, width)
        t.agree("embed_backward", *arguments, values(t.rng, batch, 1 + count, width))


def q3_h_grids(t):
    """Not square, both ways round, a single row or column; one width for all, since a table depends on both."""
    more, less = lengths(t.rng, 2, 2, 6)
    for grid in ((3, 5), (2, 4), (4, 1), (1, 3), (more, less), (less, more), (3, 3)):
        t.agree("sincos_positions", grid, 8)


def q3_h_widths(t):
    rows, columns = lengths(t.rng, 2, 2, 5)
    for width in (4, 8, 12, 16, 4 * int(t.rng.integers(5, 9))):
        t.agree("sincos_positions", (rows, columns), width)


def row_cases(rng):
    """Shapes of one to four axes, different and equal; the last axis is D. One row alone."""
    shape = lengths(rng, 4, 2, 6)
    n = int(rng.integers(3, 6))
    yield from ([n, n], shape[:1], shape[:2], shape[:3], shape, [n, n, n], [n] * 4, [1, 5], [2, 1, 3])


EPS = (0.5, 1e-3, 1e-6, 0.05, 1e-2, 0.2, 0.1, 1e-6, 0.3)


def norm_arguments(rng, shape, spread=1.0):
    return spread * values(rng, *shape) + values(rng), rng.uniform(0.5, 2, shape[-1]), values(rng, shape[-1])


def q4_h_axes(t):
    for shape, eps in zip(row_cases(t.rng), EPS):
        t.agree("layer_norm", *norm_arguments(t.rng, shape), eps)


def q4_h_eps(t):
    """Rows whose variance is about as large as eps."""
    for eps in (1e-6, 1e-5, 1e-3, 0.5):
        shape = lengths(t.rng, 2, 3, 7)
        t.agree("layer_norm", *norm_arguments(t.rng, shape, 1.5 * eps**0.5), eps)


def q4_h_ln_large(t):
    """Means of plus and minus a million: ordinary rows, one of small spread, a constant one."""
    width = int(t.rng.integers(5, 9))
    x = values(t.rng, 4, width)
    x[1] *= 1e-3
    x[2] = 0
    x += 1e6 * np.array([[1], [-1], [1], [-1]])
    t.agree("layer_norm", x, t.rng.uniform(0.5, 2, width), values(t.rng, width), 1e-6, rtol=1e-6)


def q5_h_axes(t):
    for shape, eps in zip(row_cases(t.rng), EPS):
        t.agree("layer_norm_backward", *norm_arguments(t.rng, shape), eps, values(t.rng, *shape), atol=SMALL)


def q5_h_eps(t):
    for eps in (1e-6, 1e-3, 0.5):
        shape = lengths(t.rng, 3, 3, 6)
        arguments = norm_arguments(t.rng, shape, 1.5 * eps**0.5)
        t.agree("layer_norm_backward", *arguments, eps, values(t.rng, *shape), atol=SMALL)


def q6_h_forward(t):
    for shape in row_cases(t.rng):
        x = 3 * values(t.rng, *shape)
        t.agree("softmax", x)
        t.agree("log_softmax", x)


def q6_h_backward(t):
    for shape in row_cases(t.rng):
        x, g = 2 * values(t.rng, *shape), values(t.rng, *shape)
        t.agree("softmax_backward", x, g)
        t.agree("log_softmax_backward", x, g)


def large_rows(rng):
    """Rows of very different size: all far below the others, about zero, far above; then a wide row; then 60 apart."""
    kinds = int(rng.integers(3, 6))
    near = values(rng, 4, kinds)
    apart = rng.permutation(kinds) * 60.0 + values(rng, kinds)
    return [
        near + np.array([[-2e4 + 9], [0.0], [2e4 - 9], [800.0]]),
        2e4 * rng.uniform(-1, 1, (3, kinds)),
        np.stack([apart, apart[::-1]]),
    ]


def q6_h_softmax_large(t):
    for x in large_rows(t.rng):
        g = values(t.rng, *x.shape)
        t.agree("softmax", x)
        t.agree("log_softmax", x)
        t.agree("softmax_backward", x, g, atol=NOISE)
        t.agree("log_softmax_backward", x, g, atol=NOISE)


def label_cases(rng, shape):
    """Class numbers, one-hot rows, dense rows, dense rows with zeros."""
    batch, kinds = shape
    numbers = rng.integers(0, kinds, batch)
    numbers[0], numbers[-1] = kinds - 1, 0
    dense = rng.uniform(0.1, 1, shape)
    holes = dense * (np.arange(kinds) != numbers[:, None])
    return [numbers, np.eye(kinds)[numbers]] + [rows / rows.sum(axis=1, keepdims=True) for rows in (dense, holes)]


def class_shapes(rng):
    """(B, K): more rows than classes, fewer, equal, one row."""
    less, more = sorted(lengths(rng, 2, 2, 6))
    return (more, less), (less, more), (4, 4), (1, 3)


def q7_h_labels(t):
    """Without smoothing."""
    for shape in class_shapes(t.rng):
        logits = 2 * values(t.rng, *shape)
        for labels in label_cases(t.rng, shape):
            t.agree("cross_entropy", logits, labels, 0.0)


def q7_h_smoothing(t):
    for shape in class_shapes(t.rng):
        logits = 2 * values(t.rng, *shape)
        for labels in label_cases(t.rng, shape):
            for smoothing in (0.1, 0.3):
                t.agree("cross_entropy", logits, labels, smoothing)


def q7_h_ce_large(t):
    for logits in large_rows(t.rng):
        for labels in label_cases(t.rng, logits.shape):
            for smoothing in (0.0, 0.1):
                t.agree("cross_entropy", logits, labels, smoothing, atol=NOISE)


def q8_h_labels(t):
    """Class numbers, one-hot and dense rows, and rows in which none, some or all classes are right."""
    for shape in class_shapes(t.rng):
        logits = 2 * values(t.rng, *shape)
        some = (t.rng.random(shape) < 0.5).astype(float)
        some[0] = 1
        for labels in [*label_cases(t.rng, shape), some, t.rng.random(shape), np.zeros(shape)]:
            t.agree("sigmoid_cross_entropy", logits, labels)


def q8_h_large(t):
    for logits in large_rows(t.rng):
        for labels in label_cases(t.rng, logits.shape):
            t.agree("sigmoid_cross_entropy", logits, labels, atol=NOISE)
