"""Exercises of notebook 03, patches and the embedding E."""

from functools import partial

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number


def _pixel_of(n, m, width, C, P):
    r, s = n // (width // P) * P + m // (P * C), n % (width // P) * P + m // C % P
    return r, s, m % C


def _columns_are_pixels(n, m, width, C, P):
    return n // width * P + m // (P * C), n % width * P + m // C % P, m % C


def _channel_first(n, m, width, C, P):
    r, s, _ = _pixel_of(n, 0, width, C, P)
    return r + m // P % P, s + m % P, m // (P * P)


def _channel_not_divided_out(n, m, width, C, P):
    r, s, _ = _pixel_of(n, 0, width, C, P)
    return r + m // (P * C), s + m % P, m % C


def _corner_of_the_patch(n, m, width, C, P):
    r, s, _ = _pixel_of(n, 0, width, C, P)
    return r, s, m % C


def _inside_the_patch(n, m, width, C, P):
    return m // (P * C), m // C % P, m % C


def _patches_not_pixels(n, m, width, C, P):
    return n // (width // P) + m // (P * C), n % (width // P) + m // C % P, m % C


def _embedding(weight):
    return weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))


def _overlapping_backward(dpatches, height, width, C, P, step, keep_last=False, mean=False):
    dx, count = np.zeros((height, width, C)), np.zeros((height, width, 1))
    columns = (width - P) // step + 1
    for n, patch in enumerate(dpatches):
        r, s = n // columns * step, n % columns * step
        window = dx[r : r + P, s : s + P]
        window[...] = patch.reshape(P, P, C) + (0 if keep_last else window)
        count[r : r + P, s : s + P] += 1
    return dx / np.maximum(count, 1) if mean else dx


def _overlapping_cases(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for height, width, C, P, step in ((7, 9, 2, 3, 2), (5, 8, 3, 4, 1), (7, 12, 1, 4, 3)):
        patches = ((height - P) // step + 1) * ((width - P) // step + 1)
        cases.append((rng.standard_normal((patches, P * P * C)), height, width, C, P, step))
    return cases


EXERCISES = [
    Exercise(
        "3.1",
        number(
            1024,
            {
                1025: "One too many: the [class] token is a token, but not a patch.",
                32: "This is the number of patches along one side. The grid has rows and columns.",
                256: "These are the pixels of one patch. How many such patches cover the image?",
                262144: "These are the pixels of the image. A patch has P x P of them.",
                16384: "Divide by P twice, once along each side.",
                196: "This is the number at 224 x 224 pixels, the resolution of pre-training.",
                3072: "The channels do not make more patches: they lengthen each patch, to P P C numbers.",
            },
        ),
        "N_p = H_I W_I / P^2: twice the resolution makes four times the patches.",
    ),
    Exercise(
        "3.2",
        function_like(
            _pixel_of,
            lambda rng: [(7, 8, 10, 3, 2), (11, 17, 15, 2, 3), (5, 20, 28, 5, 4), (0, 1, 6, 3, 2)],
            {
                "n counts patches, and one row of the grid has width / P of them, not width.": _columns_are_pixels,
                "m is taken apart as (channel, row, column). Here the channel runs fastest: it is m % C.": (
                    _channel_first
                ),
                "This is the first pixel of the patch: m also says which row and column inside the patch.": (
                    _corner_of_the_patch
                ),
                "This is the place inside the patch. Where in the image does patch n begin?": _inside_the_patch,
                "Row and column of the patch are counted in patches; each step is P pixels.": _patches_not_pixels,
                "Inside a patch the channel is the fastest, so m % P is no column: divide m by C first.": (
                    _channel_not_divided_out
                ),
                "Row and column are swapped.": lambda n, m, width, C, P: (
                    *_pixel_of(n, m, width, C, P)[1::-1],
                    _pixel_of(n, m, width, C, P)[2],
                ),
            },
            allowed=(),
            results="r s c",
        ),
        "// and % take a number apart in the order in which a reshape put it together, the fastest axis last.",
    ),
    Exercise(
        "3.3",
        function_like(
            _embedding,
            lambda rng: [(rng.standard_normal((D, C, P, P)),) for D, C, P in ((5, 3, 2), (7, 2, 3))],
            {
                "The rows are in the order (channel, row, column): move C behind the two window axes before the "
                "reshape.": lambda weight: weight.reshape(len(weight), -1).T,
                "The shape is right, the numbers are not in their places: a reshape alone moves no axis.": (
                    lambda weight: weight.reshape(-1, len(weight))
                ),
                "Row and column in the window are swapped: each filter is mirrored along its diagonal.": (
                    lambda weight: weight.transpose(3, 2, 1, 0).reshape(-1, len(weight))
                ),
                "This is E transposed: D comes last.": lambda weight: _embedding(weight).T,
            },
            allowed=(),
        ),
        "Order is a convention: any one trains, but a file speaks one of them.",
    ),
    Exercise(
        "3.4",
        function_like(
            _overlapping_backward,
            _overlapping_cases,
            {
                "Where windows overlap, the last one overwrites the others. A pixel that was used several times gets "
                "the sum of what comes back.": partial(_overlapping_backward, keep_last=True),
                "This is the mean over the windows. Each use of a pixel changes the loss, so the contributions add "
                "up, without a division.": partial(_overlapping_backward, mean=True),
            },
            allowed=(),
        ),
        "A number that is used several times collects the sum of its gradients. Convolution's backward pass is this.",
    ),
]
