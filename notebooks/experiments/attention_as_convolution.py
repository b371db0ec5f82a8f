"""One layer of attention learns to imitate a convolution of 3x3: how well by heads, with and without learned places.

The theorem of Cordonnier, Loukas & Jaggi 2019 (arXiv 1911.03584) by gradient descent. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.attention_as_convolution

A few minutes of one core. Writes results/attention_as_convolution.json after every run; started again, it goes on where
it was.
The target has random kernels for 16 filters, so nine heads are needed, and repeats the edge of the image. Weights by
place do not depend on the image, and no layer has a bias. Then the mean squared error over all training images depends
only on the mean M of x x^T, and 64 "images" with the same M are the whole training set: each update has a full batch.
"""

from typing import Any

import numpy as np
from experiments import record

from minivit import functional as F
from minivit.data import normalize
from minivit.lessons import digits
from minivit.lineage.cordonnier import QuadraticAttention, encoding
from minivit.nn import Linear, Module
from minivit.nn import initialisers as init
from minivit.optim import AdamW, warmup_cosine
from minivit.tensor import Tensor, grad

SEEDS = 10
SIDE = 8  # of the images
FILTERS = 16
HEADS = (1, 2, 4, 6, 8, 9, 12, 16)  # of the layers with learned places
STEPS = 2000
RATE = 0.1
CONTENT = {"steps": 400, "rate": 0.2, "images": 32}  # attention by content has no full batch
MOMENTS = (0, 30, 100, 300, 2000)  # updates after which places are kept, for nine heads
ABSOLUTE = {"width": 64, "head": 4, "deviation": 0.1, "rate": 0.02}  # features of a place, of a head; of the start


class ByPlace(QuadraticAttention):
    """The layer of the library, with its scores as one product.   x: (B, N, 1) -> (B, N, filters)."""

    def weights(self, height: int, width: int) -> Tensor:
        r = self.like(encoding(height, width).reshape(-1, 3).T)  # (3, N N)
        sharpness = self.spread[:, None] * self.spread[:, None] * 0.5
        v = F.concat(-sharpness, self.centres * sharpness * 2.0, axis=1)
        return F.softmax((v @ r).reshape(-1, height * width, height * width))

    def forward(self, x: Tensor) -> Tensor:
        return attend(self.weights(SIDE, SIDE), x, self.values)


class ByAbsolutePlace(Module):
    """Queries and keys from learned position embeddings, as in a ViT, but not from the pixels."""

    def __init__(self, heads: int, rng: np.random.Generator):
        width, own = ABSOLUTE["width"], int(ABSOLUTE["head"])
        self.position = init.parameter(init.normal(rng, (SIDE**2, width), 1.0), "float32")
        drawn = init.normal(rng, (2 * heads, width, own), ABSOLUTE["deviation"])
        self.query_key = init.parameter(drawn, "float32")
        self.values = Linear(heads, FILTERS, rng, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        both = self.position @ self.query_key  # (2 H, N, Dh)
        heads = both.shape[0] // 2
        scores = both[:heads] @ both[heads:].transpose(0, 2, 1) * float(ABSOLUTE["head"] ** -0.5)
        return attend(F.softmax(scores), x, self.values)


class ByContent(Module):
    """Scores from the pixels alone. A pixel is one number, so those of a head are (a x_query + c) x_key: all else is
    equal for all keys."""

    def __init__(self, heads: int, rng: np.random.Generator):
        self.slope, self.shift = (init.parameter(init.normal(rng, (heads, 1, 1), 1.0), "float32") for _ in range(2))
        self.values = Linear(heads, FILTERS, rng, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query, key = x.reshape(-1, 1, SIDE**2, 1), x.reshape(-1, 1, 1, SIDE**2)
        seen = F.softmax((query * self.slope + self.shift) * key) @ x.reshape(-1, 1, SIDE**2, 1)  # (B, H, N, 1)
        return self.values(seen.transpose(0, 2, 1, 3).reshape(-1, SIDE**2, self.values.weight.shape[0]))


def attend(weights: Tensor, x: Tensor, values: Linear) -> Tensor:
    """What the heads see, mixed.   weights: (H, N, N), x: (B, N, 1) -> (B, N, filters)."""
    places = weights.shape[-1]
    seen = weights.reshape(-1, places) @ x.reshape(-1, places).transpose()  # (H N, B)
    return values(seen.reshape(-1, places, x.shape[0]).transpose(2, 1, 0))


def images() -> tuple[np.ndarray, np.ndarray]:
    """The digits as rows of places, less the mean of all: training (1438, 64), test (359, 64), float64."""
    train, test = (normalize(part.images).astype(float).reshape(-1, SIDE**2) for part in digits())
    return train - train.mean(), test - train.mean()


def convolution(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A 3x3 convolution with the edge repeated.   x: (B, 64), kernel: (3, 3, filters) -> (B, 64, filters)."""
    around = np.pad(x.reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)), mode="edge")
    y = sum(around[:, i : i + SIDE, j : j + SIDE, None] * kernel[i, j] for i in range(3) for j in range(3))
    return y.reshape(-1, SIDE**2, kernel.shape[-1])


def whole(x: np.ndarray) -> np.ndarray:
    """As few images as there are pixels, (N, N), whose mean of x x^T is that of all, and so the loss of such layers."""
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    return np.sqrt(np.maximum(values, 0) * len(values))[:, None] * vectors.T


def floor_by_heads(y: np.ndarray, heads: int) -> float:
    """The least share of the square of y that `heads` numbers for each place leave over.   y: (B, N, filters)."""
    squares = np.linalg.svd(y.reshape(-1, y.shape[-1]), compute_uv=False) ** 2
    return float(squares[heads:].sum() / squares.sum())


def floor_by_content(x: np.ndarray, y: np.ndarray) -> float:
    """The same for attention without places: equal pixels of one image get equal results."""
    left = 0.0
    for pixels, wanted in zip(x, y, strict=True):
        for value in np.unique(pixels):
            alike = wanted[pixels == value]
            left += np.square(alike - alike.mean(axis=0)).sum()
    return float(left / np.square(y).sum())


def build(kind: str, rng: np.random.Generator) -> Module:
    """The layer of "9 heads" (or another number), "9 heads, frozen", "content" or "absolute"."""
    if kind == "content":
        return ByContent(9, rng)
    return ByAbsolutePlace(9, rng) if kind == "absolute" else ByPlace(1, FILTERS, int(kind.split()[0]), rng)


def measure(kind: str, seed: int) -> dict[str, Any]:
    """Train one layer; its squared error on the test images over the square of the target, and the least possible."""
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((3, 3, FILTERS)) / 3
    layer, (train, test) = build(kind, rng), images()
    content = kind == "content"
    steps, rate = (CONTENT["steps"], CONTENT["rate"]) if content else (STEPS, RATE)
    rate = ABSOLUTE["rate"] if kind == "absolute" else rate
    held = {} if kind in ("content", "absolute") else {"values.bias": 0.0}
    held |= {"centres": 0.0, "spread": 0.0} if "frozen" in kind else {}
    schedule = warmup_cosine(float(rate), int(steps), int(steps) // 20)
    optimizer = AdamW(layer.named_parameters(), schedule, weight_decay=0.0, rates=held)
    x = train if content else whole(train)
    y, kept = convolution(x, kernel).astype("float32"), []
    x = x[..., None].astype("float32")
    for update in range(int(steps) + 1):
        if kind == "9 heads" and update in MOMENTS:
            alpha = layer.spread.data**2 / 2
            kept.append(np.column_stack([layer.centres.data, alpha]).astype(float).round(2).ravel().tolist())
        if update < steps:
            some = rng.integers(0, len(x), CONTENT["images"]) if content else slice(None)
            error = layer(Tensor(x[some])) - y[some]
            optimizer.step(grad((error * error).mean(), optimizer.parameters))
    wanted = convolution(test, kernel)
    found = layer(Tensor(test[..., None].astype("float32"))).data
    error = np.square(found - wanted).sum() / np.square(wanted).sum()
    floor = floor_by_content(test, wanted) if content else floor_by_heads(wanted, layer.values.weight.shape[0])
    return {"error": float(f"{error:.3g}"), "floor": float(f"{floor:.3g}")} | ({"places": kept} if kept else {})


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.attention_as_convolution",
        "data": "digits: 1,438 training and 359 test images of 8x8 pixels",
        "config": {
            "side": SIDE, "filters": FILTERS, "heads": HEADS, "steps": STEPS, "rate": RATE, "content": CONTENT,
            "moments": MOMENTS, "absolute": ABSOLUTE,
        },
    }  # fmt: skip


def main() -> None:
    results = record.begin("attention_as_convolution", header())
    kinds = [*(f"{heads} heads" for heads in HEADS), "9 heads, frozen", "absolute", "content"]
    for seed in range(SEEDS):  # outermost, so that all have as many runs, whenever this is stopped
        for kind in kinds:
            by_seed = results["results"].setdefault(kind, [])
            if len(by_seed) == seed:
                by_seed.append(measure(kind, seed))
                record.write("attention_as_convolution", results)


if __name__ == "__main__":
    main()
