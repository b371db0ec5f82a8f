"""The hidden checks of the project."""

import numpy as np


def _drawn(rng, rows, columns, classifier, depth):
    ph, pw, channels, heads, classes = (int(n) for n in rng.permutation([2, 3, 4, 5, 7])[:5])
    return {
        "image_size": (rows * ph, columns * pw),
        "patch_size": (ph, pw),
        "channels": channels,
        "width": 2 * heads + 1,
        "depth": depth,
        "mlp_width": 4 * heads + 3,
        "num_classes": classes,
        "classifier": classifier,
    }


def q1_h_cost(t):
    """Both classifiers, oblong grids, widths of the MLP that are no multiple, several blocks."""
    for rows, columns, classifier, depth in (
        (2, 5, "token", 3),
        (4, 3, "gap", 1),
        (1, 6, "token", 11),
        (5, 1, "gap", 4),
    ):
        run = _drawn(t.rng, rows, columns, classifier, depth)
        batch, updates = (int(n) for n in t.rng.choice(np.arange(2, 40), 2, replace=False))
        t.agree("training_multiply_adds", run, batch, updates, rtol=0)


def q1_h_large(t):
    """A whole number of more than 53 bits, where a float would round."""
    run = _drawn(t.rng, 14, 14, "token", 12) | {"width": 769, "mlp_width": 3073, "num_classes": 1001}
    got = t.call("training_multiply_adds", run, 4097, 10_001)
    want = t.ref("training_multiply_adds", run, 4097, 10_001)
    t.close(got, want, what="the cost of a large run")
    exact = isinstance(got, int) and got == want
    t.require(exact, "the cost of a large run is not exact: count in whole numbers", seen=type(got).__name__)


def q2_h_error(t):
    """Means far from 0, two to nine seeds."""
    for count in (2, 3, int(t.rng.integers(4, 7)), 9):
        t.agree("mean_and_error", t.rng.normal(t.rng.uniform(-3, 3), 0.5, count), what="(mean, error)")


def q2_h_offset(t):
    """A spread that is small beside the mean."""
    t.agree("mean_and_error", 1e6 + t.rng.normal(size=5), rtol=1e-8, what="(mean, error)")


def q3_h_paired(t):
    """Seeds that move both methods alike."""
    for count in (2, 4, 7):
        shared = 10 * t.rng.normal(size=count)
        ours, control = shared + 0.3 * t.rng.normal(size=count), shared + 0.3 * t.rng.normal(size=count)
        got, want = t.call("paired", ours, control), t.ref("paired", ours, control)
        t.close(list(got)[:2], list(want)[:2], what="(difference, error)")


def q3_h_decided(t):
    """Differences just below and just above two standard errors, in both directions."""
    said, right = [], []
    for factor, sign in ((1.9, 1), (2.1, 1), (1.9, -1), (2.1, -1)):
        noise = t.rng.normal(size=5)
        noise -= noise.mean()
        error = noise.std(ddof=1) / 5**0.5
        control = t.rng.normal(size=5)
        said.append(bool(t.call("paired", control + noise + sign * factor * error, control)[-1]))
        right.append(factor > 2)
    sentence = f"differences of 1.9, 2.1, -1.9 and -2.1 standard errors are called decided: {said}"
    t.require(said == right, sentence, seen=[float(answer) for answer in said])


def q4_h_noisy(t):
    """Points off the law: the fit weighs all of them."""
    for count in (3, 5, 8):
        sizes = np.exp(t.rng.uniform(2, 9, count))
        losses = t.rng.uniform(0.5, 3) * sizes ** -t.rng.uniform(0.05, 0.6) * np.exp(0.2 * t.rng.normal(size=count))
        t.agree("power_law", sizes, losses, what="(a, b)")


def q4_h_growing(t):
    """A quantity that grows: b is negative."""
    sizes = np.array([10.0, 100.0, 3000.0])
    a, b = t.call("power_law", sizes, 2 * sizes**0.5)
    t.close([a, b], [2.0, -0.5], what="(a, b)")
