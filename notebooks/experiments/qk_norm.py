"""QK-norm at the usual learning rate and at ten times it: the loss and the largest score during training, on digits.

Notebook 25 discusses them. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.qk_norm

About five minutes of one core. Writes results/qk_norm.json after every run; started again, it goes on where it was.
The models of one seed begin with the same parameters and see the same images in the same order. All norms are RMSNorm,
so that those of queries and keys have no shift.
"""

from typing import Any

import numpy as np
from experiments import record

from minivit.data import normalize
from minivit.lessons import digits, fit
from minivit.lineage.modern import Modern
from minivit.lineage.modern_config import ModernConfig
from minivit.tensor import no_grad

SEEDS = 8
STEPS = 200
EVERY = 20  # updates between two measurements
RATES = (3e-3, 3e-2)
FIT = {"batch_size": 64, "weight_decay": 0.0, "warmup": 0.1, "clip_norm": None}
SHAPE = {
    "image_size": 8, "channels": 1, "patch_size": 2, "width": 32, "depth": 6, "heads": 2, "mlp_width": 64,
    "num_classes": 10, "class_token": True, "classifier": "token", "position": "learned", "norm": "rms",
}  # fmt: skip


def largest_score(model: Modern, images: np.ndarray) -> float:
    """The largest score of these images in absolute value, over all blocks, heads and pairs of tokens."""
    c, largest = model.config, 0.0
    with no_grad():
        x = model.embed(model.tensor(images), c.grid)
        for block in model.blocks:
            attention = block.attention
            qkv = attention.qkv(block.norm1(x)).reshape(*x.shape[:2], 3, c.heads, c.width // c.heads)
            q, k = qkv[:, :, 0], qkv[:, :, 1]
            if c.qk_norm:
                q, k = attention.q_norm(q), attention.k_norm(k)
            scores = np.einsum("bihd,bjhd->bhij", q.data, k.data) / np.sqrt(c.width // c.heads)
            largest = max(largest, float(np.abs(scores).max()))
            x = block(x)
    return largest


def score_bound(model: Modern) -> float:
    """The bound on the scores with QK-norm, sqrt(Dh) max |g_q g_k|, the largest of all blocks."""
    pairs = [(block.attention.q_norm.scale.data, block.attention.k_norm.scale.data) for block in model.blocks]
    return float(max(np.abs(q * k).max() for q, k in pairs) * np.sqrt(model.config.width // model.config.heads))


def measure(qk_norm: bool, rate: float, seed: int, steps: int = STEPS) -> dict[str, list[float]]:
    """Train on the digits.   loss: means of EVERY updates; score, bound: before and after as many updates."""
    train, _ = digits()
    images = normalize(train.images[:64])
    model = Modern(ModernConfig(**SHAPE, qk_norm=qk_norm), seed)
    scores, bounds = [], []

    def watch(updates: int) -> None:
        if updates % EVERY == 0:
            model.eval()
            scores.append(round(largest_score(model, images), 2))
            if qk_norm:
                bounds.append(round(score_bound(model), 2))

    watch(0)
    with np.errstate(all="ignore"):  # a run may leave the numbers altogether
        history = fit(model, train, steps, lr=rate, seed=seed, watch=watch, **FIT)
    losses = np.array([result.loss for result in history]).reshape(-1, EVERY).mean(axis=1)
    return {"loss": losses.round(4).tolist(), "score": scores, **({"bound": bounds} if qk_norm else {})}


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.qk_norm",
        "data": "digits: 1,438 training images of 8x8 pixels",
        "config": {**SHAPE, **FIT, "steps": STEPS, "every": EVERY, "rates": RATES},
    }


def main() -> None:
    results = record.begin("qk_norm", header())
    for seed in range(SEEDS):  # outermost, so that all have as many runs, whenever this is stopped
        for rate in RATES:
            for name in ("without", "QK-norm"):
                by_seed = results["results"].setdefault(f"{rate:g}", {}).setdefault(name, [])
                if len(by_seed) == seed:
                    by_seed.append(measure(name == "QK-norm", rate, seed))
                    record.write("qk_norm", results)


if __name__ == "__main__":
    main()
