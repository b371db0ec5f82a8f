"""Exercises of notebook 34, masks on request."""

import math
from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import number
from minivit.lessons.slips.best_of_masks import SLIPS, best_of


def _code(
    points: np.ndarray,
    gaussian: np.ndarray,
    height: int,
    width: int,
    *,
    half: float = 0.5,
    order: int = 1,
    centred: bool = True,
    turn: float = 2 * math.pi,
    sides: str = "xy",
    parts: str = "sin cos",
) -> np.ndarray:
    """half: added to a pixel; order: -1 for (y, x); sides: what (x, y) are divided by."""
    one, less = (max(height, width),) * 2, (width - 1, height - 1)
    size = {"xy": (width, height), "yx": (height, width), "one": one, "less": less}[sides]
    shares = ((points + half) / np.array(size))[:, ::order]
    angles = turn * ((2 * shares - 1 if centred else shares) @ gaussian)
    both = {"sin": np.sin(angles), "cos": np.cos(angles)}
    if parts == "mixed":
        return np.stack([both["sin"], both["cos"]], axis=2).reshape(len(points), -1)
    return np.concatenate([both[part] for part in parts.split()], axis=1)


def _clicks(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for count, features, height, width in ((3, 4, 24, 40), (5, 2, 17, 9), (2, 7, 32, 20), (4, 3, 50, 31)):
        points = np.stack([rng.integers(0, width, count), rng.integers(0, height, count)], axis=1).astype(float)
        cases.append((points, rng.standard_normal((2, features)), height, width))
    return cases


def _focal_share(p: float) -> float:
    """The gradient of the focal error, without alpha, over that of the cross-entropy."""
    wrong = 1 - p
    return wrong**2 - 2 * wrong * p * math.log(p)


def _expected(size: float, inner: float, outer: float, chance: float) -> float:
    """The expected IoU of a mask of this size between the two shapes."""
    return chance * inner / size + (1 - chance) * size / outer


def _best_single(inner: float, outer: float, chance: float, by: str = "best") -> tuple[float, float]:
    """Size and expected IoU of one answer.   by: which."""
    likely, other = (inner, outer) if chance > 0.5 else (outer, inner)
    mean = chance * inner + (1 - chance) * outer
    middle = (inner + outer) / 2
    flat = math.sqrt(inner * outer * chance / (1 - chance))
    size = {
        "best": likely, "worse": other, "inner": inner, "outer": outer, "mean": middle, "expected": mean, "flat": flat,
        "flat between": min(outer, max(inner, flat)), "geometric": math.sqrt(inner * outer),
    }[by]  # fmt: skip
    return size, _expected(size, inner, outer, chance)


def _of_the_likely(by: str, inner: float, outer: float, chance: float) -> tuple[float, float]:
    """The right size with another value."""
    size, small = _best_single(inner, outer, chance)[0], inner / outer
    values = {
        "oracle": 1.0, "chance": max(chance, 1 - chance), "other": min(chance, 1 - chance) * (1 - small) + small,
        "half": (1 + small) / 2,
    }  # fmt: skip
    return size, values[by]


def _areas(rng: np.random.Generator) -> list[tuple]:
    fixed = [(16.0, 100.0, 0.45), (30.0, 40.0, 0.8), (5.0, 80.0, 0.3), (12.0, 50.0, 0.65), (9.0, 45.0, 0.1)]
    return [*fixed, *((float(a), float(a + b), float(c)) for a, b, c in rng.uniform((5, 5, 0.55), (50, 90, 1), (4, 3)))]


def _iou(
    z: np.ndarray, t: np.ndarray, *, cut: float = 0.0, empty: float = 0.0, below: str = "union", smooth: float = 0.0
) -> float:
    """cut: a pixel belongs to the mask above it; below: what the overlap is divided by; smooth: added to both."""
    said, t = z > cut, t.astype(bool)
    both, sums = (said & t).sum(), said.sum() + t.sum()
    area = {"union": (said | t).sum(), "sum": sums, "target": t.sum(), "said": said.sum(), "pixels": z.size}[below]
    return float((both + smooth) / (area + smooth)) if area + smooth else empty


def _soft_iou(z: np.ndarray, t: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-z))
    return float((p * t).sum() / np.maximum(p, t).sum())


def _dice(z: np.ndarray, t: np.ndarray) -> float:
    said = z > 0
    total = said.sum() + t.sum()
    return float(2 * (said & t).sum() / total) if total else 0.0


def _right_pixels(z: np.ndarray, t: np.ndarray) -> float:
    return float(((z > 0) == t).mean())


def _background_too(z: np.ndarray, t: np.ndarray) -> float:
    return (_iou(z, t) + _iou(-z, ~t)) / 2


def _masks(rng: np.random.Generator) -> list[tuple]:
    """Logits near 0, some between 0 and 1/2. The last but one has one pixel; the last is empty, as its target is."""
    cases = [(rng.standard_normal((h, w)), rng.random((h, w)) < share) for h, w, share in _SIZES]
    height, width = 4, 6
    one = np.zeros((1, 5), bool)
    one[0, 3] = True
    nothing = -1 - rng.random((height, width)), np.zeros((height, width), bool)
    return [*cases, (np.where(one, 2.0, -3.0), one), nothing]


_SIZES = ((3, 5, 0.5), (6, 4, 0.3), (5, 8, 0.6), (7, 3, 0.4))


def _answers(rng: np.random.Generator) -> list[tuple]:
    """Masks of which now the first, now another is the best. In the last case it has a wrong pixel, the other none."""
    cases = []
    for masks, n, best in ((3, 7, 1), (2, 9, 0), (4, 6, 2), (3, 8, 2), (5, 10, 3)):
        t = np.arange(n) < n // 2
        z = rng.standard_normal((masks, n))
        z[best] += 0.9 * (2 * t - 1)
        z[(best + 1) % masks] += 2.0  # covers most of the target, and most of the rest
        cases.append((z, t))
    t = np.arange(8) < 4
    timid, bold = 0.1 * (2 * t - 1), 4.0 * (2 * t - 1) + rng.uniform(-0.5, 0.5, 8)  # all pixels right, all but one
    bold[0] *= -1
    return [*cases, (np.stack([timid, bold]), t)]


EXERCISES = [
    Exercise(
        "34.1",
        diagnosed(
            _code,
            _clicks,
            {
                "x runs along the width and y along the height: the two sides are exchanged.": partial(
                    _code, sides="yx"
                ),
                "A click is (x, y), and the first row of G belongs to x: the two are exchanged.": partial(
                    _code, order=-1
                ),
                "Points are (x, y), not (row, column): x and y are exchanged.": partial(_code, sides="yx", order=-1),
                "A pixel's place is its middle.": partial(_code, half=0.0),
                "The last pixel ends at the edge of the image: divide by the side, not by one less.": partial(
                    _code, half=0.0, sides="less"
                ),
                "The middle of pixel 0 lies at half a pixel, not at a whole one.": partial(_code, half=1.0),
                "The shares run from 0 to 1. The code takes them from -1 to 1.": partial(_code, centred=False),
                "The factor 2 pi is missing.": partial(_code, turn=1.0),
                "Half a turn is missing: 2 pi, not pi.": partial(_code, turn=math.pi),
                "Each side has its own length.": partial(_code, sides="one"),
                "All sines come first, then all cosines: they are exchanged.": partial(_code, parts="cos sin"),
                "All sines come first, then all cosines; here they take turns.": partial(_code, parts="mixed"),
                "These are the sines alone.": partial(_code, parts="sin"),
            },
            allowed=(),
        ),
        "Points are (x, y), tables are (row, column): here the two conventions meet.",
    ),
    Exercise(
        "34.2",
        number(
            _focal_share(0.9),
            {
                0.1**2: "This is the ratio of the errors. The factor (1 - p)^2 depends on z, too.",
                0.1**2 + 2 * 0.1 * 0.9 * math.log(0.9): "The second term has the wrong sign.",
                2 * 0.1 * 0.9 * -math.log(0.9): "This is the second term alone.",
                0.1**2 - 2 * 0.1 * math.log(0.9): "p (1 - p) is the derivative of p: a factor is missing.",
                _focal_share(0.1): "p is the probability of the right answer, 0.9.",
                1 / _focal_share(0.9): "This is the inverse.",
                0.25 * _focal_share(0.9): "Without alpha.",
                3 * 0.1**2: "This is what it tends to for p near 1. At 0.9 the third digit differs.",
                -_focal_share(0.9): "Both gradients have the same sign.",
                1 - _focal_share(0.9): "This is the part that is lost, not the ratio.",
                0.1 * _focal_share(0.9): "This is the gradient itself. Divide by that of the cross-entropy.",
            },
            rtol=2e-3,
        ),
        "A pixel that is nearly right has about 3 % of its weight in the cross-entropy.",
    ),
    Exercise(
        "34.3",
        diagnosed(best_of, _answers, SLIPS, allowed=(), results="loss dz"),
        "The other masks get no gradient at all: they are free to mean something else.",
    ),
    Exercise(
        "34.4",
        diagnosed(
            _best_single,
            _areas,
            {
                "This is the worse of the two shapes.": partial(_best_single, by="worse"),
                "The inner shape is not always the best answer.": partial(_best_single, by="inner"),
                "The outer shape is not always the best answer.": partial(_best_single, by="outer"),
                "A mask between the two is never better than both: the IoU is convex in its size.": partial(
                    _best_single, by="mean"
                ),
                "The expected size is a mask between the two, and never better than both.": partial(
                    _best_single, by="expected"
                ),
                "There the expected IoU is smallest: it is convex in the size.": partial(_best_single, by="flat"),
                "Between the shapes, there the expected IoU is smallest: it is convex in the size.": partial(
                    _best_single, by="flat between"
                ),
                "The geometric mean is a mask between the two, and never better than both.": partial(
                    _best_single, by="geometric"
                ),
                "The size is right. The inner shape is meant with the probability `chance`, not 1/2.": partial(
                    _of_the_likely, "half"
                ),
                "The size is right. Three answers reach this IoU; one is given before the target is known.": partial(
                    _of_the_likely, "oracle"
                ),
                "The size is right. When the other shape is meant, the answer still overlaps with it.": partial(
                    _of_the_likely, "chance"
                ),
                "The size is right. This is the expected IoU of the other shape.": partial(_of_the_likely, "other"),
            },
            allowed=(),
            results="size iou",
        ),
        "Whichever shape is more likely: one mask cannot hedge.",
    ),
    Exercise(
        "34.5",
        diagnosed(
            _iou,
            _masks,
            {
                "Logits are compared with 0: a probability of 1/2.": partial(_iou, cut=0.5),
                "Every pixel is in this mask: probabilities are always above 0, logits are not.": partial(
                    _iou, cut=-math.inf
                ),
                "Nothing is added above and below.": partial(_iou, smooth=1.0),
                "The threshold comes first. This is the overlap of probabilities.": _soft_iou,
                "This is the dice overlap, twice the intersection over the sum of the areas.": _dice,
                "The union is smaller than the sum of the areas.": partial(_iou, below="sum"),
                "This is the share of the target that was found.": partial(_iou, below="target"),
                "This is the share of the mask that is right.": partial(_iou, below="said"),
                "Pixels outside both masks do not count.": _right_pixels,
                "The overlap is divided by the union, not by all pixels.": partial(_iou, below="pixels"),
                "The background is not a mask: its overlap does not count.": _background_too,
                "If both are empty, return 0.": partial(_iou, empty=1.0),
                "0/0: if both are empty, return 0.": partial(_iou, empty=math.nan),
            },
            where={"mask and target are empty": lambda z, t: not t.any() and not (z > 0).any()},
            allowed=(),
        ),
        "A convention decides about empty masks. The library's is 0.",
    ),
]
