"""The visible checks of A2. Each asks for little, on purpose: your own tests have to ask for the rest."""

import numpy as np

THREE = "layer_norm_backward returns three arrays, (dx, dscale, dbias)"
PAIR = "it returns a pair, (loss, dlogits)"


def array(result):
    """A result as an array; an empty one if it is none."""
    try:
        return np.asarray(result)
    except ValueError:
        return np.zeros(0)


def part(result, shape, index):
    """One part of an array if its shape is right; else the whole, which no comparison then accepts."""
    return array(result)[index] if array(result).shape == shape else result


def parts(t, result, count, sentence):
    """The parts of a result that should have so many."""
    right = isinstance(result, (list, tuple)) and len(result) == count
    t.require(right, sentence)
    return result if right else [np.zeros(0)] * count


def q1_v_round_trip(t):
    """unpatchify(patchify(images)) gives the images back."""
    images = t.rng.normal(size=(2, 8, 8, 3))
    patches = array(t.call("patchify", images, (2, 2)))
    t.close(np.array(patches.shape), np.array([2, 16, 12]), 0, what="the shape of patchify's result")
    back = t.call("unpatchify", patches, (2, 2), (8, 8))
    t.close(back, images, 0, what="unpatchify(patchify(images))")


def q1_v_one_channel(t):
    """One grey image of 4 x 4 pixels, patches of 2 x 2."""
    t.agree("patchify", t.rng.normal(size=(1, 4, 4, 1)), (2, 2), rtol=0)


def q2_v_class_row(t):
    """The first token is the class token with its position."""
    patches, weight = t.rng.normal(size=(2, 4, 6)), t.rng.normal(size=(6, 3))
    bias, token, positions = t.rng.normal(size=3), t.rng.normal(size=(1, 1, 3)), t.rng.normal(size=(1, 5, 3))
    tokens = t.call("embed", patches, weight, bias, token, positions)
    row = np.concatenate([token[:, 0] + positions[:, 0]] * 2)
    t.close(part(tokens, (2, 5, 3), np.s_[:, 0]), row, what="row 0 of embed")


def q2_v_one_image(t):
    """Gradients for a batch of one."""
    patches, weight = t.rng.normal(size=(1, 4, 6)), t.rng.normal(size=(6, 3))
    bias, token, positions = t.rng.normal(size=3), t.rng.normal(size=(1, 1, 3)), t.rng.normal(size=(1, 5, 3))
    t.agree("embed_backward", patches, weight, bias, token, positions, t.rng.normal(size=(1, 5, 3)))


def q3_v_origin(t):
    """The patch at the corner, row 0 and column 0."""
    grid = (int(t.rng.integers(2, 4)), int(t.rng.integers(2, 4)))
    table = t.call("sincos_positions", grid, 8)
    row = np.array([0.0, 0, 1, 1, 0, 0, 1, 1])
    t.close(part(table, (grid[0] * grid[1], 8), 0), row, what="the first row of sincos_positions")


def q3_v_one_frequency(t):
    """The smallest width, 4: one frequency."""
    side = int(t.rng.integers(2, 5))
    t.agree("sincos_positions", (side, side), 4)


def q4_v_mean_and_spread(t):
    """Without scale and bias, each row has mean 0 and standard deviation 1, nearly."""
    t.agree("layer_norm", t.rng.normal(size=(3, 8)), np.ones(8), np.zeros(8), 1e-6, rtol=1e-3)


def q4_v_scale_and_bias(t):
    """Three rows, with a scale and a bias."""
    x, scale, bias = t.rng.normal(size=(3, 5)), t.rng.uniform(0.5, 2, 5), t.rng.normal(size=5)
    t.agree("layer_norm", x, scale, bias, 1e-6, rtol=1e-4)


def q5_v_dx(t):
    """dx, with a scale of ones and a bias of zeros."""
    x, g = t.rng.normal(size=(2, 4, 6)), t.rng.normal(size=(2, 4, 6))
    args = (x, np.ones(6), np.zeros(6), 1e-6, g)
    got, want = t.call("layer_norm_backward", *args), t.ref("layer_norm_backward", *args)
    t.close(parts(t, got, 3, THREE)[0], want[0], 1e-5, what="dx")


def q5_v_parameters(t):
    """dscale and dbias of a few rows."""
    args = (t.rng.normal(size=(3, 5)), t.rng.uniform(0.5, 2, 5), t.rng.normal(size=5), 0.1, t.rng.normal(size=(3, 5)))
    got, want = t.call("layer_norm_backward", *args), t.ref("layer_norm_backward", *args)
    names = ("dscale", "dbias")
    pairs = (dict(zip(names, arrays[1:])) for arrays in (parts(t, got, 3, THREE), want))
    t.close(*pairs, what="the gradient")


def q6_v_rows(t):
    """Three rows of small numbers."""
    x = t.rng.normal(size=(3, 4))
    t.agree("softmax", x)
    t.agree("log_softmax", x)


def q6_v_one_row(t):
    """The backwards for one row."""
    x, g = t.rng.normal(size=(1, 5)), t.rng.normal(size=(1, 5))
    t.agree("softmax_backward", x, g)
    t.agree("log_softmax_backward", x, g)


def q7_v_three_rows(t):
    """Three rows, class numbers, no smoothing: loss and gradient."""
    t.agree("cross_entropy", t.rng.normal(size=(3, 4)), t.rng.integers(0, 4, 3), 0.0)


def q7_v_smoothing(t):
    """The loss of one row with smoothing 0.1."""
    args = (t.rng.normal(size=(1, 5)), t.rng.integers(0, 5, 1), 0.1)
    got, want = t.call("cross_entropy", *args), t.ref("cross_entropy", *args)
    t.close(parts(t, got, 2, PAIR)[0], want[0], what="the loss")


def q8_v_zeros(t):
    """Logits of zeros: the loss is K log 2, whatever the labels."""
    kinds = int(t.rng.integers(3, 7))
    labels = t.rng.integers(0, kinds, 4)
    got = t.call("sigmoid_cross_entropy", np.zeros((4, kinds)), labels)
    t.close(parts(t, got, 2, PAIR)[0], kinds * np.log(2), what="the loss of zeros")


def q8_v_small(t):
    """Small logits, class numbers: loss and gradient."""
    t.agree("sigmoid_cross_entropy", t.rng.normal(size=(3, 4)), t.rng.integers(0, 4, 3))
