"""resize."""

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops
from hypothesis import given
from strategies import arrays, assert_close, check

from minivit.backend.resizing import METHODS, resize_matrix

sides = st.integers(1, 5)
METHOD = st.sampled_from([*METHODS, "bilinear_pinv"])


@pytest.mark.gradient_check("resize")
@given(
    x=arrays(st.tuples(st.integers(1, 2), sides, sides, st.integers(1, 3))), size=st.tuples(sides, sides), method=METHOD
)
def test_resize(x, size, method):
    a, b = (resize_matrix(old, new, method) for old, new in zip(x.shape[1:3], size, strict=True))
    assert_close(ops.resize(x, size, method)[0], np.einsum("im,jn,bmnc->bijc", a, b, x))
    check(ops.resize, x, size=size, method=method)


def test_rows_and_columns_have_scales_of_their_own():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 2))
    scales = 5.1 / 3, 6.1 / 4
    a, b = resize_matrix(3, 5, "bicubic", scales[0]), resize_matrix(4, 6, "bicubic", scales[1])
    assert_close(ops.resize(x, (5, 6), "bicubic", scales)[0], np.einsum("im,jn,bmnc->bijc", a, b, x))
    check(ops.resize, x, size=(5, 6), method="bicubic", scale=scales)


def test_resize_says_what_does_not_fit():
    x = np.ones((2, 3, 4, 1))
    for bad, size in ((x[0], (3, 3)), (x, (3, 3, 3)), (x, (3,))):
        with pytest.raises(ValueError, match=r"resize: x \(.*\) is not \(B, height, width, C\), or size"):
            ops.resize(bad, size)
    with pytest.raises(ValueError, match="resize: a side of 4 cannot become 0"):
        ops.resize(x, (3, 0))
    with pytest.raises(ValueError, match='resize: method is "linear"'):
        ops.resize(x, (3, 3), "linear")
