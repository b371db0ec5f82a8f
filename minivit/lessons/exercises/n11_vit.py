"""Exercises of notebook 11, the whole Vision Transformer."""

import math
from typing import Any

import numpy as np

from minivit import ops
from minivit.lessons.exercise import Exercise, Wrong
from minivit.lessons.judges import arrays, call, choice, function_like
from minivit.models import ViT, ViTConfig


def _patches(images: np.ndarray, P: int) -> np.ndarray:
    """(B, height, width, C) -> (B, N, P P C), each patch in the order row, column, channel."""
    B, height, width, C = images.shape
    tiles = images.reshape(B, height // P, P, width // P, P, C).transpose(0, 1, 3, 2, 4, 5)
    return tiles.reshape(B, -1, P * P * C)


def _image_gradient(dz0, E, height, width, P, order=(0, 1, 3, 2, 4, 5)):
    """`order`: that of the axes (image, patch row, patch column, row, column, channel) in the result."""
    dpatches = dz0[:, 1:] @ E.T
    tiles = dpatches.reshape(len(dz0), height // P, width // P, P, P, -1)
    return tiles.transpose(order).reshape(len(dz0), height, width, -1)


def _channels_first(dz0, E, height, width, P):
    dpatches = dz0[:, 1:] @ E.T
    tiles = dpatches.reshape(len(dz0), height // P, width // P, -1, P, P)
    return tiles.transpose(0, 1, 4, 2, 5, 3).reshape(len(dz0), height, width, -1)


def _class_token_kept(dz0, E, height, width, P):
    shifted = np.concatenate([dz0[:, :1], dz0[:, :-1]], axis=1)  # what [:, :N] instead of [:, 1:] would take
    return _image_gradient(shifted, E, height, width, P)


def _gradient_cases(rng: np.random.Generator) -> list[tuple]:
    shapes = ((2, 6, 9, 3, 4, 5), (3, 8, 4, 2, 5, 7))  # B, height, width, P, C, D
    return [
        (rng.standard_normal((B, 1 + height * width // P**2, D)), rng.standard_normal((P * P * C, D)), height, width, P)
        for B, height, width, P, C, D in shapes
    ]


def _vit(
    images,
    w,
    P,
    H,
    *,
    final_norm=True,
    norm_first=True,
    read=slice(None),
    order=int,
    form="tanh",
    eps=1e-6,
    wide=False,
    add=True,
):
    """The model of exercise 11.5; every keyword is a place for a mistake.   read: the tokens that are averaged."""

    def linear(x, name):
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    def norm(x, name):
        return ops.layer_norm(x, w[f"{name}.scale"], w[f"{name}.bias"], eps)[0]

    z = linear(_patches(images, P), "patch_embed.projection")
    z = z + w["position_embedding"] if add else z
    for i in sorted({name.split(".")[1] for name in w if name.startswith("blocks.")}, key=order):
        block, D = f"blocks.{i}", z.shape[-1]
        qkv = linear(norm(z, f"{block}.norm1"), f"{block}.attention.qkv")
        if wide:  # scores divided by sqrt(D) instead of sqrt(D / H)
            qkv[..., :D] /= math.sqrt(H)
        z = linear(ops.attention(qkv, H)[0], f"{block}.attention.out") + z
        hidden, _ = ops.gelu(linear(norm(z, f"{block}.norm2"), f"{block}.mlp.hidden"), form)
        z = linear(hidden, f"{block}.mlp.out") + z
    if final_norm and norm_first:
        z = norm(z, "norm")
    features = z[:, read].mean(axis=1)
    if final_norm and not norm_first:
        features = norm(features, "norm")
    return linear(features, "head")


_VIT_MISTAKES: dict[str, dict[str, Any]] = {
    "The last LayerNorm (Eq. 4) is missing.": {"final_norm": False},
    "The last LayerNorm comes before the mean: it looks at single tokens.": {"norm_first": False},
    "The mean runs over all tokens. There is no [class] token here to leave out.": {"read": slice(1, None)},
    "Token 0 alone is read. It is the first patch here; read the mean over all tokens.": {"read": slice(1)},
    "The epsilon of LayerNorm is 1e-6, inside the root.": {"eps": 1e-5},
    "The blocks are in the wrong order: sorted as text, blocks.10 comes before blocks.2.": {"order": str},
    "This is GELU in its erf form; the published code, and w, go with the tanh form.": {"form": "erf"},
    "The scores are divided by the square root of D, not of the width D / H of a head.": {"wide": True},
    "The position embedding is missing.": {"add": False},
}


def _models() -> list[tuple[ViT, np.ndarray, int, int]]:
    """Small models without a [class] token and with random parameters: (model, images, P, H)."""
    rng, found = np.random.default_rng(0), []
    for depth, width, heads, size, patch in ((2, 6, 2, (4, 10), 2), (11, 6, 3, (6, 3), 3)):
        config = ViTConfig(size, patch, width, depth, heads, mlp_width=7, num_classes=4, channels=2, classifier="gap")
        model = ViT(config, seed=0, dtype="float64")
        for tensor in model.parameters():
            tensor.data += 0.5 * rng.standard_normal(tensor.shape)
        found.append((model, rng.standard_normal((3, *size, 2)), patch, heads))
    return found


def _judge_vit(answer: Any) -> str | None:
    tried = _models()
    got: list[np.ndarray] = []
    for model, images, P, H in tried:
        try:
            got += arrays((call(answer, images, model.state_dict(), P, H),))
        except Wrong as wrong:
            raise Wrong(f"{wrong} The model has {model.config.depth} blocks.") from None
        expected = (len(images), model.config.num_classes)
        if got[-1].shape != expected:
            return f"The logits have shape {got[-1].shape}, expected {expected}."
    if _near(got, [model(images).data for model, images, _, _ in tried]):
        return None
    for hint, mistake in _VIT_MISTAKES.items():
        if _near(got, [_vit(images, model.state_dict(), P, H, **mistake) for model, images, P, H in tried]):
            return hint
    right = [_near([a], [model(images).data]) for a, (model, images, _, _) in zip(got, tried, strict=True)]
    if right == [True, False]:
        return "It is right for 2 blocks and wrong for 11. In which order do you take them?"
    return (
        "The logits have the right shape and differ from the library's. To find where, take a model with "
        'classifier="gap": `tap = {}; model(images, tap=tap)` fills the dict with its tokens after every block.'
    )


def _near(got: list[np.ndarray], wanted: list[np.ndarray]) -> bool:
    return all(bool(np.abs(a - b).max() <= 1e-8 * np.abs(b).max()) for a, b in zip(got, wanted, strict=True))


EXERCISES = [
    Exercise(
        "11.1",
        function_like(
            lambda D, F: 4 * D * D + 2 * D * F + 9 * D + F,
            lambda rng: [(5, 11), (192, 768)],
            {
                "The biases of the linear layers are missing: 3D + D in MSA, F + D in the MLP.": (
                    lambda D, F: 4 * D * D + 2 * D * F + 4 * D
                ),
                "The LayerNorms are missing: two, each with a scale and a bias of D numbers.": (
                    lambda D, F: 4 * D * D + 2 * D * F + 5 * D + F
                ),
                "These are the matrices alone: biases and LayerNorms count too.": lambda D, F: 4 * D * D + 2 * D * F,
                "F is an argument of its own: it need not be 4D.": lambda D, F: 12 * D * D + 13 * D,
                "A block has two LayerNorms.": lambda D, F: 4 * D * D + 2 * D * F + 7 * D + F,
                "MSA has a fourth matrix: the projection after the heads, D x D and a bias.": (
                    lambda D, F: 3 * D * D + 2 * D * F + 8 * D + F
                ),
            },
        ),
        "With F = 4D that is 12 D^2 + 13 D: to a good approximation a ViT has 12 L D^2 parameters.",
    ),
    Exercise(
        "11.2",
        function_like(
            lambda T, D: 0.5 + T / (4 * D),
            lambda rng: [(197, 768), (65, 64), (10, 3)],
            {
                "The two products with A are missing: the ratio must depend on T.": lambda T, D: 0.5,
                "The four projections are missing: 4 T D^2.": lambda T, D: T / (4 * D),
                "q k^T is counted, A v is not: each takes T^2 D.": lambda T, D: 0.5 + T / (8 * D),
                "MSA has four projections: queries, keys, values, and the one after the heads.": (
                    lambda T, D: 3 / 8 + T / (4 * D)
                ),
                "This is the ratio of the MLP to attention, the other way round.": lambda T, D: 1 / (0.5 + T / (4 * D)),
                "The MLP has two products, D to F and F to D.": lambda T, D: 1 + T / (2 * D),
            },
        ),
        "1/2 + T/(4D): the ratio is 1 at T = 2D. The number of heads does not matter.",
    ),
    Exercise(
        "11.3",
        choice(
            "head",
            {
                "all": "In step 2, dy = dlogits W^T. What is that for a head W of zeros?",
                "last block and head": "What reaches the last block has passed the head: dy = dlogits W^T, with W = 0.",
                "none": "dW of the head is y^T dlogits. W being zero does not make that zero, nor dlogits.",
            },
        ),
        "dW = y^T dlogits needs no W, but dy = dlogits W^T does. From the second step on the head is not zero, and all "
        "other parameters learn as well.",
    ),
    Exercise(
        "11.4",
        function_like(
            _image_gradient,
            _gradient_cases,
            {
                "Rows and columns inside the patches are exchanged: each patch is transposed.": (
                    lambda dz0, E, height, width, P: _image_gradient(dz0, E, height, width, P, (0, 1, 4, 2, 3, 5))
                ),
                "The order in a patch is row, column, channel: the channel runs fastest.": _channels_first,
                "The patches are not put back in their places: before the reshape the axes must be (patch row, row, "
                "patch column, column).": (
                    lambda dz0, E, height, width, P: _image_gradient(dz0, E, height, width, P, (0, 1, 2, 3, 4, 5))
                ),
                "Token 0 is the [class] token; patch i is token i + 1.": _class_token_kept,
            },
        ),
        "The pullback of cutting into patches is putting them together again. No two patches share a pixel, so nothing "
        "is added up.",
    ),
    Exercise(
        "11.5",
        _judge_vit,
        "You have written a Vision Transformer from nothing but arrays.",
    ),
]
