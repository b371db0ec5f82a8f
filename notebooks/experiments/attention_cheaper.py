"""Cheaper attention on the heads of a trained ViT: the error of random features and of mixed keys, and the times.

"performer": the error of random features by their number, for queries and keys that are multiplied by a factor; with
the factor 0 attention is uniform. "linformer": the error of mixed keys and values by their number, for mixtures that
are random, fixed means of neighbours, or learned on other images; "floor" is what every matrix of that rank misses.
"time": of one head of random numbers. From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.attention_cheaper

Five minutes of one core. Needs CIFAR-10. Writes results/attention_cheaper.json after every run; started again, it goes
on where it was.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from experiments import record

from minivit.data import load, normalize
from minivit.lessons import result_file
from minivit.lineage.flash import flash_attention
from minivit.lineage.linformer import attend, tail
from minivit.lineage.performer import both_features, directions, linear_attention
from minivit.models import load_pretrained
from minivit.ops.attention import attention_weights, split_heads
from minivit.optim import AdamW
from minivit.tensor import Tensor, grad, no_grad

SEEDS = 5
BLOCK = 3  # counted from 0, of six
IMAGES = 16  # whose heads are approximated, others for each seed
LEARNED_FROM = 256  # images, of the training data
UPDATES, RATE = 1000, 5e-3  # of learned mixtures
FACTORS = (0.0, 0.25, 0.5, 1.0)  # of queries and keys alike
KINDS = ("positive", "orthogonal", "trigonometric")  # the first and the last with independent directions
FEATURES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
MIXED = (1, 2, 4, 8, 16, 32, 65)
WAYS = ("random", "means", "learned", "floor")
TOKENS = (64, 128, 256, 512, 1024, 2048, 4096)  # of the times
METHODS = ("exact", "tiles", "Performer", "Linformer")
WIDTH, CHEAP = 64, 64  # of the timed head; its features or mixed keys
CALLS = 5  # of which the median is taken


def heads_of(images: np.ndarray, block: int = BLOCK) -> tuple[np.ndarray, ...]:
    """Queries, keys and values in a block of the trained model of notebook 18.   images: (B, 32, 32, 3) uint8."""
    model = load_pretrained(result_file("vit_cifar10.safetensors")).eval()
    with no_grad():
        z = model.embed(Tensor(model.like(normalize(images, mean=(0.49, 0.48, 0.45), std=0.25))))
        for before in model.blocks[:block]:
            z = before(z)
        layer = model.blocks[block].attention
        qkv = layer.qkv(model.blocks[block].norm1(z)).data.astype(np.float64)
    q, k, v = split_heads(qkv, layer.heads)
    return q, k, v


@functools.cache
def heads(seed: int, split: str) -> tuple[np.ndarray, ...]:
    data = load("cifar10", split=split)
    count = IMAGES if split == "test" else LEARNED_FROM
    return heads_of(data.fetch(np.random.default_rng(seed).choice(len(data), count, replace=False))[0])


def error(y: np.ndarray, exact: np.ndarray) -> float:
    """|y - exact| / |exact| of a head of an image, the median over all.   (B, H, N, Dh) each."""
    off, size = (np.linalg.norm(x, axis=(-2, -1)) for x in (y - exact, exact))
    return float(np.median(off / size))


def floor(exact: np.ndarray, rank: int) -> float:
    """The same error of the nearest matrix of this rank to each head's result."""
    missed = tail(exact)
    missed = missed[..., rank] if rank < missed.shape[-1] else np.zeros(missed.shape[:-1])
    return float(np.median(missed / np.linalg.norm(exact, axis=(-2, -1))))


def by_features(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, count: int, kind: str, rng: np.random.Generator
) -> np.ndarray:
    """A Performer's result."""
    w = directions(rng, count, q.shape[-1], orthogonal=kind == "orthogonal")
    name = "trigonometric" if kind == "trigonometric" else "positive"
    with no_grad():
        return linear_attention(*both_features(Tensor(q), Tensor(k), w, name, stabilise=True), Tensor(v)).data


def means(count: int, tokens: int) -> np.ndarray:
    """A matrix (count, tokens) that takes the mean of each run of neighbouring tokens."""
    mix = np.zeros((count, tokens))
    for row, run in zip(mix, np.array_split(np.arange(tokens), count), strict=True):
        row[run] = 1 / len(run)
    return mix


def learned(arrays: tuple[np.ndarray, ...], count: int, rng: np.random.Generator, updates: int = UPDATES) -> list:
    """Mixtures of keys and of values, one for each head, (H, count, N) each, that make the squared error small.

    They begin as means plus noise; each update sees 16 images.
    """
    q, k, v = arrays
    y, shape = attention_weights(q, k) @ v, (q.shape[1], count, q.shape[2])
    start = [means(*shape[1:]) + 0.1 * shape[2] ** -0.5 * rng.standard_normal(shape) for _ in range(2)]
    mixes = [Tensor(x, requires_grad=True) for x in start]
    optimizer = AdamW(mixes, lr=RATE, weight_decay=0.0)
    for step in range(updates):
        some = rng.choice(len(q), 16, replace=False)
        off = attend(Tensor(q[some]), Tensor(k[some]), Tensor(v[some]), *mixes) - y[some]
        optimizer.lr = RATE * (1 - step / updates)
        optimizer.step(grad((off * off).mean(), mixes))
    return [mix.data for mix in mixes]


def by_mixtures(seed: int, factor: float, way: str, count: int) -> float:
    """The error of a Linformer, or the least that any matrix of this rank makes."""
    rng = np.random.default_rng((seed, count))
    q, k, v = heads(seed, "test")
    exact = attention_weights(q * factor, k * factor) @ v
    if way == "floor":
        return floor(exact, count)
    if way == "random":
        mixes = [rng.standard_normal((q.shape[1], count, q.shape[2])) * q.shape[2] ** -0.5 for _ in range(2)]
    elif way == "means":
        mixes = [means(count, q.shape[2])] * 2
    else:
        others = heads(seed, "train")
        mixes = learned((others[0] * factor, others[1] * factor, others[2]), count, rng)
    with no_grad():
        return error(attend(Tensor(q * factor), Tensor(k * factor), Tensor(v), *map(Tensor, mixes)).data, exact)


def by_random_features(seed: int, factor: float, kind: str, count: int) -> float:
    """The error of a Performer."""
    q, k, v = heads(seed, "test")
    q, k, rng = factor * q, factor * k, np.random.default_rng((seed, count))
    return error(by_features(q, k, v, count, kind, rng), attention_weights(q, k) @ v)


def whole(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Exact attention with the whole matrix of weights, in place where that saves time.   (1, 1, N, Dh) each."""
    s = (q * q.shape[-1] ** -0.5) @ k.swapaxes(-1, -2)
    s -= s.max(axis=-1, keepdims=True)
    np.exp(s, out=s)
    return (s @ v) / s.sum(axis=-1, keepdims=True)


def methods(tokens: int, rng: np.random.Generator) -> dict[str, Callable[[], Any]]:
    """Calls that compute one head of random numbers, in float32."""
    q, k, v = rng.standard_normal((3, 1, 1, tokens, WIDTH), dtype=np.float32)
    w = directions(rng, CHEAP, WIDTH).astype(np.float32)
    mixes = [Tensor(rng.standard_normal((CHEAP, tokens), dtype=np.float32) * tokens**-0.5) for _ in range(2)]
    tensors = Tensor(q), Tensor(k), Tensor(v)
    return {
        "exact": lambda: whole(q, k, v),
        "tiles": lambda: flash_attention(q, k, v, rows=256, columns=256),
        "Performer": lambda: linear_attention(*both_features(*tensors[:2], w, stabilise=True), tensors[2]),
        "Linformer": lambda: attend(*tensors, *mixes),
    }


def seconds(seed: int, method: str, tokens: int) -> float:
    """CPU time of one call."""
    call, times = methods(tokens, np.random.default_rng(seed))[method], []
    repeats = max(1, 1024 // tokens)  # short calls are timed together
    with no_grad():
        call()
        for _ in range(CALLS):
            begin = time.process_time()
            for _ in range(repeats):
                call()
            times.append((time.process_time() - begin) / repeats)
    return float(np.median(times))


def measure(part: str, seed: int, *setting: Any) -> float:
    """One number of a part."""
    parts: dict[str, Callable[..., float]] = {
        "performer": by_random_features,
        "linformer": by_mixtures,
        "time": seconds,
    }
    return parts[part](seed, *setting)


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.attention_cheaper",
        "data": f"cifar10: {IMAGES} test images, and {LEARNED_FROM} training images for the learned mixtures",
        "config": {
            "block": BLOCK,
            "updates": UPDATES,
            "rate": RATE,
            "performer": {"factors": FACTORS, "kinds": KINDS, "features": FEATURES},
            "linformer": {"ways": WAYS, "mixed": MIXED},
            "time": {"methods": METHODS, "tokens": TOKENS, "width": WIDTH, "cheap": CHEAP, "calls": CALLS},
        },
    }


def settings() -> list[tuple]:
    """All settings, the part first."""
    return [
        *(("time", method, tokens) for tokens in TOKENS for method in METHODS),
        *(("performer", factor, kind, count) for factor in FACTORS for kind in KINDS for count in FEATURES),
        *(("linformer", factor, way, count) for factor in (0.0, 1.0) for way in WAYS for count in MIXED),
    ]


def main() -> None:
    results = record.begin("attention_cheaper", header())
    for seed in range(SEEDS):
        for part, *setting in settings():
            place = results["results"].setdefault(part, {})
            for name in setting[:-1]:
                place = place.setdefault(str(name), {})
            by_seed = place.setdefault(str(setting[-1]), [])
            if len(by_seed) <= seed:
                by_seed.append(float(f"{measure(part, seed, *setting):.4g}"))
                record.write("attention_cheaper", results)


if __name__ == "__main__":
    main()
