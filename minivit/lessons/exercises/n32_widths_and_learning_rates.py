"""Exercises of notebook 32, widths and learning rates."""

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import choice, number


def _first_change(x, dy, eta):
    return -eta * x @ np.sign(x.T @ dy)


def _each_token_alone(x, dy, eta):
    """As if every token had a matrix of its own."""
    return -eta * np.abs(x).sum(axis=1, keepdims=True) * np.sign(dy)


def _matrix_rate(n_in, n_out, base_in, base_out, eta, decay):
    m = n_in / base_in if n_in != base_in and n_out != base_out else 1.0
    return eta / m, decay * m


def _any_growing_side(n_in, n_out, base_in, base_out, eta, decay):
    m = n_in / base_in if n_in != base_in else n_out / base_out
    return eta / m, decay * m


def _by_outputs(n_in, n_out, base_in, base_out, eta, decay):
    m = n_out / base_out if n_in != base_in and n_out != base_out else 1.0
    return eta / m, decay * m


def _by_both(n_in, n_out, base_in, base_out, eta, decay):
    m = n_in / base_in * n_out / base_out if n_in != base_in and n_out != base_out else 1.0
    return eta / m, decay * m


def _with(rate, decayed, rule=_matrix_rate):
    """A form of `_matrix_rate`: functions of m that multiply rate and decay."""

    def wrong(n_in, n_out, base_in, base_out, eta, decay):
        m = eta / rule(n_in, n_out, base_in, base_out, eta, decay)[0]
        return eta * rate(m), decay * decayed(m)

    return wrong


def _tokens(rng: np.random.Generator) -> list[tuple]:
    """One token, few, more tokens than inputs."""
    shapes = (1, 5, 4), (3, 7, 5), (9, 4, 6)
    return [
        (rng.standard_normal((N, n)), rng.standard_normal((N, n_out)), eta)
        for (N, n, n_out), eta in zip(shapes, (0.01, 0.3, 0.002), strict=True)
    ]


def _matrices(rng: np.random.Generator) -> list[tuple]:
    """A matrix of a block, three that grow along one side or none, one whose sides grow differently, a narrower one."""
    sizes = [(256, 768, 64, 192), (48, 256, 48, 64), (384, 10, 64, 10), (12, 7, 12, 7), (96, 640, 32, 64)]
    sizes += [(32, 24, 64, 96), (96, 64, 64, 32), (64, 128, 32, 64)]  # the last two: base sides as long as own ones
    return [(*size, 0.001 * (i + 1), 0.1 / (i + 1)) for i, size in enumerate(sizes)]


def _moves(rng: np.random.Generator) -> list[tuple]:
    return [(0.02, 1e-3, 0.1, 4.0), (0.125, 3e-3, 0.05, 0.25), (1.0, 0.01, 0.3, 3.0)]


EXERCISES = [
    Exercise(
        "32.1",
        number(
            16.0,
            {
                4.0: "The terms of the change all have the same sign; this is the factor for independent terms.",
                1.0: "In muP, with the rate divided by m, it is that. Here the rate stays.",
                1 / 16: "The sum has more terms at the larger width, and each is as large as before.",
                1 / 4: "The sum has more terms at the larger width, and each is as large as before.",
                256.0: "Each output is a sum over the inputs. The number of outputs is not part of it.",
                1024.0: "The factor compares two widths; this is one of them.",
                64.0: "The factor compares two widths; this is one of them.",
            },
        ),
        "Four doublings of the width are four doublings of the change. So the rate has to be halved four times.",
    ),
    Exercise(
        "32.2",
        diagnosed(
            _first_change,
            _tokens,
            {
                "This is the change in an update of SGD. Adam moves each weight by the rate.": (
                    lambda x, dy, eta: -eta * x @ (x.T @ dy)
                ),
                "An update goes against the gradient; the sign is changed.": lambda x, dy, eta: (
                    -_first_change(x, dy, eta)
                ),
                "All tokens share the matrix, and so its update. This moves each token by its own gradient alone.": (
                    _each_token_alone
                ),
                "The gradient of a weight is summed over the tokens first. Then its sign is taken, once.": (
                    lambda x, dy, eta: -eta * x @ (np.sign(x).T @ np.sign(dy))
                ),
                "The update of a weight has the size of the rate; nothing is divided by the number of tokens.": (
                    lambda x, dy, eta: _first_change(x, dy, eta) / len(x)
                ),
                "The update of a weight has the size of the rate; nothing is divided by the number of inputs.": (
                    lambda x, dy, eta: _first_change(x, dy, eta) / x.shape[1]
                ),
                "The change of the weights is multiplied by the inputs as they are, not by their signs.": (
                    lambda x, dy, eta: -eta * np.sign(x) @ np.sign(x.T @ dy)
                ),
            },
            where={"there is more than one token": lambda x, dy, eta: len(x) > 1},
            allowed=(),
        ),
        "Its terms are aligned for one token, and in part for many. So the change grows with the number of inputs.",
    ),
    Exercise(
        "32.3",
        diagnosed(
            _matrix_rate,
            _matrices,
            {
                "A matrix of which one side grows keeps rate and decay: the patch embedding and the head are such.": (
                    _any_growing_side
                ),
                "The sum of a layer runs over its inputs. This takes the growth of the outputs.": _by_outputs,
                "Only the growth of the inputs divides the rate; this multiplies both growths.": _by_both,
                "The rate is right. AdamW multiplies the decay by the rate, so a smaller rate needs a larger decay.": (
                    _with(lambda m: 1 / m, lambda m: 1.0)
                ),
                "The rate is right. The decay makes up for the smaller rate; this makes it smaller, too.": (
                    _with(lambda m: 1 / m, lambda m: 1 / m)
                ),
                "The decay is right. The change of the outputs is an aligned sum, which grows with m, not with its "
                "root.": _with(lambda m: m**-0.5, lambda m: m),
                "Rate and decay are exchanged: the rate falls when the width grows.": _with(
                    lambda m: m, lambda m: 1 / m
                ),
                "If the inputs alone grow, as in the head, the rate stays.": (
                    lambda n_in, n_out, base_in, base_out, eta, decay: (
                        eta * base_in / n_in,
                        decay * n_in / base_in,
                    )
                ),
            },
            where={
                "both sides grow, by different factors": lambda n_in, n_out, base_in, base_out, eta, decay: (
                    n_in / base_in != n_out / base_out and n_in != base_in and n_out != base_out
                ),
                "one side does not grow": lambda n_in, n_out, base_in, base_out, eta, decay: (
                    n_in == base_in or n_out == base_out
                ),
            },
            allowed=(),
            results="rate decay",
        ),
        "The product of rate and decay is the same for every matrix, whatever its width.",
    ),
    Exercise(
        "32.4",
        diagnosed(
            lambda s, eta, decay, factor: (s / factor, eta / factor, decay * factor),
            _moves,
            {
                "W has to be smaller if the factor is larger; deviation and rate go the other way.": (
                    lambda s, eta, decay, factor: (s * factor, eta * factor, decay / factor)
                ),
                "That is the rate for SGD, whose updates grow with the gradient, and this with the factor. Adam's do "
                "not.": lambda s, eta, decay, factor: (s / factor, eta / factor**2, decay * factor**2),
                "The updates of SGD grow with the factor, so its rate needs the square. Adam's updates do not grow.": (
                    lambda s, eta, decay, factor: (s / factor, eta / factor**2, decay * factor)
                ),
                "Deviation and rate are right. AdamW multiplies the decay by the rate, which has changed.": (
                    lambda s, eta, decay, factor: (s / factor, eta / factor, decay)
                ),
                "Deviation and rate are right. The product of rate and decay has to stay; this decay goes the wrong "
                "way.": lambda s, eta, decay, factor: (s / factor, eta / factor, decay / factor),
                "Adam moves W by the rate, whatever the factor. So the product of both now moves by another amount.": (
                    lambda s, eta, decay, factor: (s / factor, eta, decay)
                ),
                "The first output has to stay: what the layer uses at the start is a times W.": (
                    lambda s, eta, decay, factor: (s, eta / factor, decay * factor)
                ),
            },
            allowed=(),
            results="deviation rate decay",
        ),
        "Both forms of muP are the same: V = m W with the factor 1/m, or W with the rate eta/m and the decay m lambda.",
    ),
    Exercise(
        "32.5",
        choice(
            "c",
            {
                "a": "Then the outputs of the blocks would change more at larger widths. Tokens before the first block "
                "pass no matrix of a block.",
                "b": "Then the logits would change more at larger widths. The head does not change the tokens.",
                "d": "Then the scores would be too large. They come after the tokens before the first block.",
            },
        ),
        "A coordinate check also shows a rate that is too small: the part with the slope -1 learns less and less.",
    ),
]
