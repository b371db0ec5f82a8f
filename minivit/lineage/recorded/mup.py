"""muP as published code has it: the groups of its optimiser for a ViT of timm's, and a coordinate check.

The recording is not arrays but tables of numbers. What the optimiser does with each parameter can be repeated exactly.
The coordinate check and the deviations of first values come from random draws that nobody can repeat: ours are of
other draws, and may be as far from the recorded ones as NEAR says.
"""

import re
from typing import Any

import numpy as np

from minivit.lineage import mup
from minivit.lineage.mup import Mup, MupConfig
from minivit.lineage.verify import Case
from minivit.models import ViT, ViTConfig
from minivit.models.convert_timm import to_timm
from minivit.optim import AdamW

NEAR = 0.4  # of numbers from three random draws, relative to the recorded one
_STARTS = {"pos_embed": 0.02, "cls_token": 1e-6}  # deviations of timm's first values
_TABLE = "library_groups"


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every number of the recording that muP defines, by its place there: `sp/64/init/embed`,
    `library_groups/64/cls_token/lr`."""
    setup = str(case.meta.get("setup", ""))
    base = int(_number(setup, r"base width (\d+)", 64))
    places = {name: name.split("/") for name in case.arrays}
    found: dict[str, float] = {}
    depth = max([1, *(1 + int(number) for number in re.findall(r"/blocks\.(\d+)\.", " ".join(places)))])
    for width in sorted({int(place[1]) for place in places.values() if place[0] == _TABLE}):
        vector = f"{_TABLE}/{width}/norm.weight"  # what does not grow twice has the rate and decay that were asked for
        rates = float(case.arrays[f"{vector}/lr"]), float(case.arrays[f"{vector}/wd"])
        for name, group in library_groups(width, base, *rates, depth=depth).items():
            own = {"ninf": group.infinite, "lr": group.lr, "wd": group.weight_decay, "std": started(name)}
            found |= {f"{_TABLE}/{width}/{name}/{key}": x for key, x in own.items()}
    for kind, width in {(place[0], int(place[1])) for place in places.values() if place[0] in ("sp", "mup")}:
        for when, values in checked(kind, width, base, setup).items():
            found |= {f"{kind}/{width}/{when}/{name}": x for name, x in values.items()}
    case.drawn |= {name: NEAR for name in found if not name.startswith(_TABLE) or name.endswith("/std")}
    return {name: np.asarray(x, float) for name, x in found.items()}


def library_groups(width: int, base: int, lr: float, weight_decay: float, depth: int = 1) -> dict[str, mup.Group]:
    """The groups of a ViT of timm's, by its names. Dense layers are (out, in) there."""
    own, known, wider = (timm_shapes(size, depth) for size in (width, base, 2 * base))
    return mup.groups(own, known, wider, lr, weight_decay, fan_in=-1)


def timm_shapes(width: int, depth: int) -> dict[str, tuple[int, ...]]:
    """Shapes by timm's names of a ViT. Those of heads, patches and classes do not matter."""
    config = ViTConfig(image_size=16, patch_size=4, width=width, depth=depth, heads=1, num_classes=10)
    state = {name: tensor.data for name, tensor in ViT(config, None).named_tensors()}
    return {name: x.shape for name, x in to_timm(state, config).items()}


def started(name: str) -> float:
    """The deviation of timm's first values: of patches torch's default, of matrices 0.02, of the rest 0."""
    if name.startswith("patch_embed"):
        return (3 * 48) ** -0.5
    return _STARTS.get(name, 0.02 if name.endswith("weight") and "norm" not in name else 0.0)


def checked(kind: str, width: int, base: int, setup: str) -> dict[str, dict[str, float]]:
    """The coordinate check of the recording for one width, the mean over its seeds.   kind: "sp", where the base has
    the width of the model, or "mup"."""
    heads, batch = int(_number(setup, r"(\d+) heads", 4)), int(_number(setup, r"batch (\d+)", 32))
    config = MupConfig(
        image_size=16, patch_size=4, width=width, depth=int(_number(setup, r"(\d+) pre-LN blocks", 2)), heads=heads,
        num_classes=int(_number(setup, r"(\d+) classes", 10)), classifier="gap", position="none", gelu="erf",
        norm_eps=1e-5, zero_head=False, base_width=base if kind == "mup" else width, base_heads=heads,
    )  # fmt: skip
    runs = []
    for seed in range(int(_number(setup, r"(\d+) seeds", 3))):
        rng = np.random.default_rng((seed, 2))
        images = rng.standard_normal((batch, 16, 16, 3)).astype(np.float32)
        labels = rng.integers(0, config.num_classes, batch)
        model = drawn(config, seed)
        optimizer = AdamW(model.named_parameters(), _number(setup, r"lr ([\d.]+\d)", 0.004), eps=1e-12)
        runs.append(mup.coordinate_check(model, images, labels, optimizer))
    return {when: _mean([run[when] for run in runs]) for when in runs[0]}


def drawn(config: MupConfig, seed: int) -> Mup:
    """The recording's model: biases stay zero, and each matrix of a block has variance 1 / fan in."""
    model, rng = Mup(config, seed), np.random.default_rng((seed, 3))
    for name, tensor in model.named_tensors():
        tensor.requires_grad = not name.endswith("bias")
    factor = config.growth if config.multipliers else 1.0
    mlps: list[Any] = [block.mlp for block in model.blocks]
    for mlp in mlps:
        for layer in (mlp.hidden, mlp.out):
            shape = layer.weight.shape
            layer.weight.data[...] = rng.standard_normal(shape) * shape[0] ** -0.5 * factor
    return model


def _number(text: str, pattern: str, default: float) -> float:
    found = re.search(pattern, text)
    return float(found[1]) if found else default


def _mean(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
