"""The matrices that resize: against PIL's, PyTorch's and TensorFlow's rules pixel by pixel, and recorded tables."""

import math

import numpy as np
import pytest

from minivit.backend.resizing import METHODS, RULES, resize_matrix

SIDES = [(1, 1), (1, 4), (2, 5), (3, 3), (4, 9), (5, 2), (7, 3), (9, 4), (8, 1)]


def cubic(a, d):
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def pil(old, new, kernel, support, antialias=True):
    """precompute_coeffs of Pillow's Resample.c; PyTorch's upsampling with antialias and JAX's resize follow it."""
    ratio = old / new
    widening = max(ratio, 1.0) if antialias else 1.0
    matrix = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * ratio
        first = max(int(centre - support * widening + 0.5), 0)
        last = min(int(centre + support * widening + 0.5), old)
        weights = [kernel(abs(j + 0.5 - centre) / widening) for j in range(first, last)]
        matrix[i, first:last] = np.array(weights) / sum(weights)
    return matrix


def torch_rule(old, new, scale, weight):
    """upsample_bicubic2d and upsample_bilinear2d of PyTorch: neighbours beyond the edge are the edge."""
    matrix = np.zeros((new, old))
    for i in range(new):
        place = (i + 0.5) / scale - 0.5
        for j in range(math.floor(place) - 1, math.floor(place) + 3):
            matrix[i, min(max(j, 0), old - 1)] += weight(abs(place - j))
    return matrix


def triangle(d):
    return max(0.0, 1 - d)


@pytest.mark.parametrize(("old", "new"), SIDES)
def test_each_method_follows_the_rule_of_its_library(old, new):
    expected = {
        "bilinear": torch_rule(old, new, new / old, triangle),
        "half_pixel": torch_rule(old, new, new / old, triangle),
        "bicubic": torch_rule(old, new, new / old, lambda d: cubic(-0.75, d)),
        "bicubic_keys": pil(old, new, lambda d: cubic(-0.5, d), 2, antialias=False),
        "bicubic_antialias": pil(old, new, lambda d: cubic(-0.5, d), 2),
        "bilinear_antialias": pil(old, new, triangle, 1),
        "nearest": np.eye(old)[[i * old // new for i in range(new)]],
        "nearest_half_pixel": np.eye(old)[[(2 * i + 1) * old // (2 * new) for i in range(new)]],
    }
    assert {*expected, "align_corners", "nearest_antialias"} == set(METHODS)
    for method, matrix in expected.items():
        np.testing.assert_allclose(resize_matrix(old, new, method), matrix, rtol=0, atol=1e-14, err_msg=method)


def test_nearest_with_antialiasing_is_a_mean_of_what_is_covered():
    half, none = 0.5, 0.0
    np.testing.assert_array_equal(
        resize_matrix(4, 2, "nearest_antialias"), [[half, half, none, none], [none, none, half, half]]
    )
    np.testing.assert_allclose(resize_matrix(6, 2, "nearest_antialias")[1], [0, 0, 0, 1 / 3, 1 / 3, 1 / 3], atol=1e-15)
    np.testing.assert_array_equal(resize_matrix(2, 4, "nearest_antialias"), resize_matrix(2, 4, "nearest"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("old", "new"), SIDES)
def test_rows_sum_to_one_and_an_equal_size_changes_nothing(method, old, new):
    np.testing.assert_allclose(resize_matrix(old, new, method).sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_array_equal(resize_matrix(old, old, method), np.eye(old))


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("old", "new"), [(3, 2), (3, 5), (14, 7), (14, 37)])
def test_a_scale_moves_the_places_and_keeps_the_size(method, old, new):
    """DINO asks PyTorch for scale_factor = (new + 0.1) / old, and PyTorch samples with that factor."""
    scale = (new + 0.1) / old
    kernel = triangle if method == "bilinear" else lambda d: cubic(-0.75, d)
    found = resize_matrix(old, new, method, scale)
    np.testing.assert_allclose(found, torch_rule(old, new, scale, kernel), rtol=0, atol=1e-14)
    assert abs(found - resize_matrix(old, new, method)).max() > 1e-3
    np.testing.assert_array_equal(resize_matrix(old, new, method, new / old), resize_matrix(old, new, method))


@pytest.mark.parametrize("method", sorted(RULES))
@pytest.mark.parametrize(("old", "new"), [(4, 6), (6, 4), (3, 7), (5, 5)])
def test_a_resized_kernel_is_the_one_whose_products_differ_least(method, old, new):
    """FlexiViT, equation 3: of all kernels the one whose products with resized patches come nearest to those of w with
    the patches; where these grow, they are equal."""
    a, b = resize_matrix(old, new, method), resize_matrix(old, new, f"{method}_pinv")
    w, x = np.random.default_rng(0).standard_normal((2, old))
    assert b.shape == (new, old)
    np.testing.assert_allclose(a @ (a.T @ (b @ w) - w), 0, atol=1e-9)  # the normal equations of least squares
    if new >= old and np.linalg.matrix_rank(a) == old:
        np.testing.assert_allclose((b @ w) @ (a @ x), w @ x, rtol=1e-9)


def test_what_cannot_be():
    with pytest.raises(
        ValueError, match='resize: method is "cubic", expected one of align_corners, half_pixel, bicubic'
    ):
        resize_matrix(3, 4, "cubic")
    with pytest.raises(ValueError, match='method is "pinv", expected'):
        resize_matrix(3, 4, "pinv_pinv")
    for old, new in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match=f"resize: a side of {old} cannot become {new}$"):
            resize_matrix(old, new, "bilinear")
    for scale in (1.9, 0, -2):
        with pytest.raises(ValueError, match=f"resize: a side of 3 cannot become 6 at scale {scale}"):
            resize_matrix(3, 6, "bicubic", scale)
