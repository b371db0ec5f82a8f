"""What every kernel is tried on: arguments and parameters that its op takes, and some that the op refuses."""

from typing import Any

import numpy as np

Case = tuple[list[Any], dict[str, Any]]  # arguments, parameters


def normal(*shape: int, spread: float = 1.0) -> np.ndarray:
    return np.asarray(spread * np.random.default_rng(len(shape)).standard_normal(shape))


def layer_norm_case(*shape: int, **params: Any) -> Case:
    return [3 + normal(*shape), normal(shape[-1]), normal(shape[-1])], params


def conv2d_case(images: tuple[int, ...], kernel: tuple[int, ...], **params: Any) -> Case:
    return [normal(*images), normal(*kernel, spread=0.3)], params


def group_norm_case(*shape: int, **params: Any) -> Case:
    return [3 + normal(*shape), normal(shape[-1]), normal(shape[-1])], params


def attend_case(queries: int, keys: int, *bias: int, **params: Any) -> Case:
    """Two examples, two heads of 3 features and values of 2; a bias of that shape, if there is one."""
    return [normal(2, queries, 6), normal(2, keys, 6), normal(2, keys, 4), *([normal(*bias)] if bias else [])], params


LOGITS = normal(6, 5)
NUMBERS = np.arange(6) % 5
PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(5), 6)
KEEP = (np.random.default_rng(0).random((2, 2, 3, 3)) < 0.7) / np.float32(0.7)
ROWS = [(5,), (1, 2), (3, 4), (0, 3), (2, 3, 4)]

CASES: dict[str, list[Case]] = {
    "gelu": [
        *[([normal(*shape, spread=3)], {}) for shape in [(), (1,), (0, 3), (17,), (3, 5, 4)]],
        *[([normal(*shape, spread=3)], {"form": form}) for form in ("erf", "quick") for shape in [(), (17,)]],
    ],
    "layer_norm": [
        *[layer_norm_case(*shape) for shape in [(8,), (0, 4), (1, 2), (13, 4), (3, 5, 7), (4, 1)]],
        layer_norm_case(3, 6, eps=0.1),
    ],
    "rms_norm": [
        *[([normal(*shape), normal(shape[-1])], {}) for shape in [(8,), (0, 4), (1, 2), (13, 4), (3, 5, 7), (4, 1)]],
        ([normal(3, 6), normal(6)], {"eps": 0.1}),
    ],
    "conv2d": [
        conv2d_case((2, 5, 4, 3), (3, 3, 3, 2)),
        conv2d_case((2, 6, 5, 3), (3, 3, 3, 2), stride=2),
        conv2d_case((1, 9, 8, 2), (7, 5, 2, 3), stride=2),  # every other row needs another border
        conv2d_case((1, 3, 4, 2), (5, 5, 2, 3), stride=3),
        conv2d_case((2, 5, 4, 3), (2, 2, 3, 2)),  # another border on either side, at stride 1
        conv2d_case((2, 5, 4, 3), (3, 3, 3, 2), padding="valid"),
        conv2d_case((2, 5, 6, 2), (2, 3, 2, 1), padding="valid"),
        conv2d_case((3, 7, 1, 1), (1, 2, 1, 1)),
        conv2d_case((2, 5, 7, 2), (2, 2, 2, 3), stride=3, padding="valid"),
        conv2d_case((2, 4, 3, 3), (1, 1, 3, 4)),
        conv2d_case((2, 4, 5, 3), (1, 1, 3, 4), stride=2),
        conv2d_case((0, 4, 5, 3), (3, 3, 3, 4)),
        conv2d_case((2, 5, 4, 3), (3, 3, 3, 2), padding=1),
        conv2d_case((2, 5, 4, 3), (3, 3, 3, 2), padding=(0, 2)),
        conv2d_case((2, 5, 4, 3), (3, 2, 3, 2), padding=2),
        conv2d_case((2, 6, 5, 3), (3, 3, 3, 2), padding=4),  # wider than the window reaches
        conv2d_case((2, 6, 5, 3), (3, 3, 3, 2), stride=2, padding=1),
        conv2d_case((2, 4, 3, 3), (1, 1, 3, 4), padding=1),
        conv2d_case((2, 5, 4, 4), (3, 3, 2, 6), groups=2),
        conv2d_case((2, 5, 4, 6), (3, 3, 2, 3), groups=3, stride=2, padding=1),
        conv2d_case((2, 5, 4, 4), (1, 1, 2, 6), groups=2),
        conv2d_case((3, 5, 4, 3), (3, 3, 1, 6), groups=3),
        conv2d_case((3, 5, 4, 3), (3, 3, 1, 3), groups=3),
        conv2d_case((3, 5, 6, 3), (3, 2, 1, 3), groups=3, stride=2),
        conv2d_case((3, 9, 8, 2), (7, 7, 1, 2), groups=2, padding=3),
        conv2d_case((3, 5, 6, 3), (3, 3, 1, 3), groups=3, padding="valid"),
        conv2d_case((0, 4, 5, 3), (3, 3, 1, 3), groups=3),
    ],
    "group_norm": [
        *[group_norm_case(*shape, groups=2) for shape in [(2, 3, 4, 6), (3, 1, 1, 4), (2, 5, 4), (0, 3, 4), (2, 8)]],
        group_norm_case(2, 3, 3, 6, groups=1),
        group_norm_case(2, 3, 3, 6, groups=6, eps=0.1),
        group_norm_case(2, 2, 3, 64),
    ],
    "attention": [
        ([normal(2, 3, 12)], {"heads": 1}),
        ([normal(7, 5, 12)], {"heads": 4}),
        ([normal(1, 1, 6)], {"heads": 2}),
        ([normal(0, 3, 6)], {"heads": 1}),
        ([normal(2, 3, 12)], {"heads": 2, "keep": KEEP}),
        ([normal(7, 5, 12)], {"heads": 2, "queries": 1}),
        ([normal(2, 5, 12)], {"heads": 2, "queries": 3}),
        ([normal(2, 5, 12, spread=20)], {"heads": 2}),  # scores in the hundreds
        ([normal(1, 130, 6)], {"heads": 2}),
        ([normal(2, 5, 12) + 9], {"heads": 1}),  # scores all above 100: e^100 is no float32
        ([normal(2, 5, 12) + np.repeat([9, -9, 1], 4)], {"heads": 1}),  # all below -100: e^-100 is 0
    ],
    "attend": [
        attend_case(3, 5, heads=2),
        attend_case(3, 5, 2, 3, 5, heads=2),
        attend_case(3, 5, 1, 5, heads=2, scale=0.2),
        attend_case(5, 5, 2, 2, 5, 5, heads=2, mask=np.tri(5, dtype=bool)),
        attend_case(3, 3, heads=2, mask=np.arange(18).reshape(2, 1, 3, 3) > 4),  # a query may look nowhere
        attend_case(3, 3, 1, 2, 1, 3, heads=2, mask=np.arange(9).reshape(3, 3) % 2 > 0, keep=KEEP),
        attend_case(1, 130, heads=1),
        attend_case(3, 3, heads=2, scale=40.0, mask=np.arange(18).reshape(2, 1, 3, 3) > 4),  # scores in the hundreds
        attend_case(4, 4, 4, 4, heads=1, scale=-30.0, mask=np.tri(4, k=-1, dtype=bool)),
        ([normal(0, 3, 6), normal(0, 2, 6), normal(0, 2, 6)], {"heads": 1}),
        ([normal(2, 3, 6), normal(2, 5, 6) * 100, normal(2, 5, 6), None], {"heads": 3}),
    ],
    "select": [
        ([normal(2, 5, 3), np.array([[4, 0], [1, 2]])], {}),
        ([normal(2, 5), np.array([[4, -5, 2], [-1, 2, 0]])], {}),
        ([normal(1, 3, 2, 2), np.array([[2, 0, 1]], "int32")], {}),
        ([normal(0, 5, 3), np.zeros((0, 2), int)], {}),
        ([normal(2, 5, 3), np.zeros((2, 0), int)], {}),
    ],
    "embedding": [
        ([normal(4, 3), np.array([[3, 0, 3], [1, 3, 0]])], {}),
        ([normal(5, 600), np.arange(40).reshape(2, 20) % 3], {}),
        ([normal(4, 2), np.array(2, "uint8")], {}),
        ([normal(4, 1), np.array([1])], {}),
        ([normal(4, 3), np.zeros((2, 0), int)], {}),
    ],
    "linear": [
        *[([normal(*shape, 4), normal(4, 3), normal(3)], {}) for shape in [(), (5,), (2, 3), (0,)]],
        ([normal(5, 4), normal(4, 3)], {}),
        ([normal(5, 4), normal(4, 3), None], {}),
    ],
    "linear_gelu": [
        *[([normal(*shape, 4), normal(4, 3), normal(3)], {}) for shape in [(), (5,), (2, 3), (0,)]],
        *[([normal(5, 4), normal(4, 3), normal(3)], {"form": form}) for form in ("erf", "quick")],
    ],
    "matmul": [
        ([normal(3, 4), normal(4, 2)], {}),
        ([normal(2, 3, 4), normal(2, 4, 5)], {}),
        ([normal(2, 1, 3, 4), normal(2, 1, 4, 1)], {}),
        ([normal(0, 4), normal(4, 2)], {}),
        ([normal(3, 0), normal(0, 2)], {}),
        ([normal(2, 3, 4), normal(4, 5)], {}),
        ([normal(4), normal(4, 5)], {}),
    ],
    "resize": [
        ([normal(2, 4, 5, 3)], {"size": (6, 3)}),
        ([normal(1, 3, 3, 2)], {"size": (5, 4), "method": "bicubic", "scale": (5.1 / 3, 4.1 / 3)}),
        ([normal(3, 6, 1, 1)], {"size": (1, 2), "method": "bicubic_antialias"}),
        ([normal(2, 4, 2, 5)], {"size": (8, 4), "method": "nearest"}),
        ([normal(0, 4, 2, 5)], {"size": (8, 4)}),
    ],
    "softmax": [*[([normal(*shape, spread=4)], {}) for shape in ROWS], ([normal(2, 3, 4, spread=4)], {"axis": 1})],
    "log_softmax": [*[([normal(*shape, spread=4)], {}) for shape in ROWS], ([normal(2, 3, 4, spread=4)], {"axis": 1})],
    "cross_entropy": [
        *[([LOGITS, labels], {}) for labels in (NUMBERS, NUMBERS.astype("uint8"), PROBABILITIES)],
        *[([LOGITS, labels], {"label_smoothing": 0.1}) for labels in (NUMBERS, PROBABILITIES)],
    ],
}

REFUSED: dict[str, list[Case]] = {
    "resize": [
        ([normal(4, 5, 3)], {"size": (6, 3)}),
        ([normal(2, 4, 5, 3)], {"size": (6, 0)}),
        ([normal(2, 4, 5, 3)], {"size": (6, 3), "method": "quick"}),
    ],
    "gelu": [([normal(3)], {"form": "swift"})],
    "layer_norm": [
        ([normal(2, 3), normal(4), normal(3)], {}),
        ([normal(2, 3), normal(3), normal(4)], {}),
        ([normal(2, 3), normal(1), normal(1)], {}),
        ([normal(), normal(), normal()], {}),
    ],
    "rms_norm": [([normal(2, 3), normal(4)], {}), ([normal(2, 3), normal(1)], {}), ([normal(), normal()], {})],
    "conv2d": [
        ([normal(2, 5, 4, 3), normal(3, 3, 2, 4)], {}),
        ([normal(5, 4, 3), normal(3, 3, 3, 4)], {}),
        ([normal(2, 5, 4, 3), normal(3, 3)], {}),
        ([normal(2, 5, 4, 3), normal(3, 3, 3, 4)], {"stride": 0}),
        ([normal(2, 5, 4, 3), normal(3, 3, 3, 4)], {"padding": "reflect"}),
        ([normal(2, 5, 4, 3), normal(3, 3, 3, 4)], {"padding": -1}),
        ([normal(2, 5, 4, 4), normal(3, 3, 4, 4)], {"groups": 2}),
        ([normal(2, 5, 4, 4), normal(3, 3, 2, 3)], {"groups": 2}),
        ([normal(2, 5, 4, 4), normal(3, 3, 2, 4)], {"groups": 0}),
        ([normal(2, 1, 1, 4), normal(3, 3, 1, 4)], {"groups": 4, "padding": "valid"}),
        ([normal(2, 5, 2, 3), normal(3, 3, 3, 4)], {"padding": "valid"}),
    ],
    "group_norm": [
        ([normal(2, 3, 6), normal(6), normal(6)], {"groups": 4}),
        ([normal(2, 3, 6), normal(3), normal(6)], {"groups": 2}),
        ([normal(2, 3, 6), normal(6), normal(3)], {"groups": 2}),
        ([normal(6), normal(6), normal(6)], {"groups": 2}),
    ],
    "attention": [
        ([normal(2, 3, 10)], {"heads": 1}),
        ([normal(2, 3, 12)], {"heads": 3}),
        ([normal(3, 12)], {"heads": 2}),
        ([normal(2, 3, 12)], {"heads": 2, "queries": 0}),
        ([normal(2, 3, 12)], {"heads": 2, "keep": KEEP, "queries": 1}),
    ],
    "attend": [
        ([normal(2, 3, 6), normal(2, 5, 6), normal(2, 5, 6)], {"heads": 4}),
        ([normal(2, 3, 6), normal(2, 5, 6), normal(2, 5, 6)], {"heads": 0}),
        ([normal(2, 3, 6), normal(2, 5, 6), normal(2, 4, 6)], {"heads": 2}),
        ([normal(2, 3, 6), normal(1, 5, 6), normal(1, 5, 6)], {"heads": 2}),
        ([normal(2, 3, 6), normal(2, 5, 4), normal(2, 5, 6)], {"heads": 2}),
        ([normal(3, 6), normal(2, 5, 6), normal(2, 5, 6)], {"heads": 2}),
        ([normal(2, 3, 6), normal(2, 5, 6), normal(2, 5, 6), normal(5, 3)], {"heads": 2}),
        ([normal(2, 3, 6), normal(2, 5, 6), normal(2, 5, 6)], {"heads": 2, "mask": np.ones((2, 5), bool)}),
        ([normal(2, 3, 6), normal(2, 5, 6), normal(2, 5, 6)], {"heads": 2, "mask": normal(3, 5)}),
        ([normal(2, 3, 6), normal(2, 3, 6), normal(2, 3, 6)], {"heads": 1, "keep": KEEP}),
    ],
    "select": [
        ([normal(2, 5, 3), np.zeros(2, int)], {}),
        ([normal(2, 5, 3), np.zeros((3, 1), int)], {}),
        ([normal(2, 5, 3), normal(2, 1)], {}),
    ],
    "embedding": [
        ([normal(4), np.zeros(2, int)], {}),
        ([normal(4, 3), normal(2)], {}),
    ],
    "linear": [([normal(2, 3), normal(4, 3), normal(3)], {}), ([normal(2, 3), normal(3, 4), normal(3)], {})],
    "matmul": [([normal(2, 3), normal(2, 3)], {}), ([normal(2, 3, 4), normal(2, 3, 4)], {})],
    "linear_gelu": [
        ([normal(2, 3), normal(4, 3), normal(3)], {}),
        ([normal(2, 3), normal(3, 4), normal(4)], {"form": "swift"}),
    ],
    "cross_entropy": [([LOGITS, labels], {}) for labels in (NUMBERS + 1, NUMBERS - 1, NUMBERS[1:], LOGITS[:, 0])],
}
