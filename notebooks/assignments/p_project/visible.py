"""The visible checks: small cases. Pass them, then test the cases that they leave out."""

import numpy as np


def config(image, patch, channels, width, depth, mlp_width, classes, classifier):
    return {
        "image_size": image,
        "patch_size": patch,
        "channels": channels,
        "width": width,
        "depth": depth,
        "mlp_width": mlp_width,
        "num_classes": classes,
        "classifier": classifier,
    }


def q1_v_square(t):
    """A square grayscale image, one update, one image."""
    t.agree("training_multiply_adds", config((8, 8), (4, 4), 1, 6, 1, 12, 3, "token"), 1, 1, rtol=0)


def q1_v_proportional(t):
    """Twice the images and three times the updates cost six times as much."""
    run = config((8, 8), (4, 4), 1, 6, 2, 12, 3, "token")
    one = t.call("training_multiply_adds", run, 2, 5)
    t.close(t.call("training_multiply_adds", run, 4, 15), one * 6, rtol=0, what="the cost of 2 x 3 as much")
    t.require(one > 0, "a run costs more than nothing")


def q2_v_two_values(t):
    """The mean of two values."""
    values = t.rng.normal(size=2)
    t.close(t.call("mean_and_error", values)[0], values.mean(), what="the mean")


def q2_v_equal(t):
    """Equal values have no error."""
    t.close(t.call("mean_and_error", np.full(5, 0.75)), (0.75, 0.0), atol=1e-12, what="(mean, error)")


def q3_v_clear(t):
    """A large and steady difference is decided."""
    control = t.rng.normal(size=6)
    result = t.call("paired", control + 5 + 0.01 * t.rng.normal(size=6), control)
    t.require(len(result) == 3 and bool(result[2]), "a difference of 5 with an error of 0.01 is decided")


def q4_v_exact(t):
    """Two points lie on one law exactly."""
    t.agree("power_law", np.array([1.0, np.e]), np.exp(t.rng.normal(size=2)), what="(a, b)")
