"""What recordings of networks for clips have in common: groups of arrays, PyTorch's shapes."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minivit.lineage.published import Arrays
from minivit.lineage.recorded import modules
from minivit.lineage.verify import Case
from minivit.nn import Module
from minivit.tensor import Tensor


def torch_view(name: str, x: np.ndarray, kernel: tuple[int, ...]) -> np.ndarray:
    """An array of ours, or its gradient, in PyTorch's shape.   kernel: (t, h, w, C), or (h, w, C), of the projection
    of tubelets, which is (D, C, t, h, w) there."""
    if name.endswith("embed.projection.weight"):
        return np.moveaxis(x.reshape(*kernel, x.shape[-1]), (-1, -2), (0, 1))
    return x.T if name.endswith(".weight") else x


def recompute(
    case: Case,
    network: Module,
    gradients: Callable[[Arrays], Mapping[str, np.ndarray]],
    official: Callable[[str], str],
    inside: Callable[[dict[str, Any]], dict[str, np.ndarray]],
    size: tuple[int, int, int] = (1, 1, 1),
) -> dict[str, np.ndarray]:
    """The arrays of every group in a recording, "video" or "a/video".

    gradients: those of our parameters -> by official names.   official: a recorded name -> the official one.
    inside: what `tap` collected -> by recorded names.   size: of a tubelet; published convolutions leave out what fills
    none at the end of a clip.
    """
    found: dict[str, np.ndarray] = {}
    for name in [name for name in case.arrays if re.fullmatch(r"([^/]+/)?video", name) and "grad_input/" not in name]:
        group = name.removesuffix("video")
        clips = Tensor(case.images(name).astype(np.float64), requires_grad=True)
        tap: dict[str, Any] = {}
        whole = (slice(side // part * part) for side, part in zip(clips.shape[1:4], size, strict=True))
        with modules.noted(network) as inner:
            logits = network(clips[:, *whole], tap)
        loss = case.loss(logits, group)
        named, new = case.differentiated(loss, {"video": clips}, network)
        new |= {"logits": logits.data, "loss": loss.data, **inside(tap)}
        inner = {re.sub(r"^encoder\.(?=blocks|norm)", "", name): x for name, x in inner.items()}
        inner |= {"embedded": tap["embedded"].data, "norm": tap["encoded"].data} if "encoded" in tap else {}
        parts = {r"(vivit|timesformer)\.": ""}
        found |= modules.taps(case, group, inner, parts)
        by_name = gradients(named)
        for asked in (key.removeprefix(f"{group}grad/") for key in case.arrays if key.startswith(f"{group}grad/")):
            if official(asked) in by_name:
                new[f"grad/{asked}"] = by_name[official(asked)]
        found |= {f"{group}{key}": x for key, x in new.items()}
    return found
