"""Axial attention as published code has it: its names, published weights, and what was recorded of a layer."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.files import expanded
from minivit.lineage.axial import AxialAttention, AxialConfig, AxialResNet
from minivit.lineage.published import Arrays, fill
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes
from minivit.nn import Module
from minivit.nn.batch_norm import batch_statistics, statistics_rows, update_running
from minivit.optim import global_norm
from minivit.tensor import Tensor, grad

_NAMES = (  # ours -> those of axialnet.py
    (r"^root\.layer\.conv\.", "conv1."),
    (r"^root\.layer\.norm\.", "bn1."),
    (r"first\.conv\.", "conv_down."),
    (r"first\.norm\.", "bn1."),
    (r"middle\.0\.", "hight_block."),
    (r"middle\.1\.", "width_block."),
    (r"last\.conv\.", "conv_up."),
    (r"last\.norm\.", "bn2."),
    (r"shortcut\.conv\.", "downsample.0."),
    (r"shortcut\.norm\.", "downsample.1."),
    (r"^head\.", "fc."),
    (r"\bqkv\.", "qkv_transform."),
    (r"norm_qkv\.", "bn_qkv."),
    (r"norm_scores\.", "bn_similarity."),
    (r"norm_out\.", "bn_output."),
    (r"scale$", "weight"),
    (r"running_variance$", "running_var"),
)


def views(arrays: Mapping[str, Any], units: tuple[int, ...] = ()) -> dict[str, Any]:
    """Our arrays, or their gradients, as views under the published names and in the published shapes.   units: of the
    network, none for a layer alone."""
    stages = [f"layer{stage}.{unit}." for stage, count in enumerate(units, 1) for unit in range(count)]
    found = {}
    for own, x in arrays.items():
        name = re.sub(r"^units\.(\d+)\.", lambda match: stages[int(match[1])], own)
        for pattern, theirs in _NAMES:
            name = re.sub(pattern, theirs, name)
        x = x.transpose(3, 2, 0, 1) if x.ndim == 4 else x
        found[name] = x.T if own.endswith(("qkv.weight", "head.weight")) else x
    return found


def load(arrays: Arrays, module: Module, source: str = "the file", units: tuple[int, ...] = ()) -> None:
    """Copy published weights into a layer or a network. Raises CheckpointError."""
    own = views({name: tensor.data for name, tensor in module.named_tensors()}, units)
    kept = {}
    for name, x in arrays.items():
        if not name.endswith(("num_batches_tracked", "flatten_index")):
            name = name.removeprefix("module.")
            kept[name] = x[:, :, 0] if name.endswith("qkv_transform.weight") and x.ndim == 3 else x  # of a Conv1d
    fill(own, kept, source)


def open_pretrained(path: str | Path, dtype: str = "float32") -> AxialResNet:
    """The network of a file of published weights (.safetensors or .npz), whose shapes tell its configuration. Raises
    CheckpointError."""
    path = expanded(path)
    arrays = {name.removeprefix("module."): x for name, x in read_arrays(path)[0].items()}
    shapes = Shapes(arrays, str(path), "Axial-ResNet's")
    width, channels, *_ = shapes("conv1.weight", 4)
    rows, places = shapes("layer1.0.hight_block.relative", 2)
    across = shapes("layer1.0.width_block.relative", 2)[1]
    stages = [name for name in ("layer1", "layer2", "layer3", "layer4") if any(x.startswith(name) for x in arrays)]
    units = tuple(shapes.depth(rf"{stage}\.(\d+)\.") for stage in stages)
    config = AxialConfig(
        units=units,
        width=width,
        heads=2 * width // max(1, rows // 2),
        image_size=(2 * (places + 1), 2 * (across + 1)),  # a span of 56 has 111 places, and is a quarter of the image
        num_classes=shapes("fc.weight", 2)[0],
        channels=channels,
    )
    network = AxialResNet(config, None, dtype)
    load(arrays, network, str(path), units)
    return network


def layer(case: Case, normalise: bool, stride: int) -> AxialAttention:
    """The layer of recorded weights. Its axis is the `axis` of the configuration, or else the one that the title of the
    recording names."""
    both, channels = case.weights["qkv_transform.weight"].shape[:2]
    span = (case.weights["relative"].shape[1] + 1) // 2
    words = str(case.config.get("axis", case.meta.get("system", "")))
    axis = "width" if re.search(r"\bwidth\b", words) else "height"
    groups = case.config["groups"]
    found = AxialAttention(channels, both // 2, groups, span, None, "float64", axis, stride, normalise)
    names = case.weights if normalise else ("qkv_transform.weight", "relative")
    load({name: case.weights[name] for name in names}, found, case.name)
    return found


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording, by its name there: of a layer with running statistics (eval/), with those of the
    batch (train/, and after/ the running ones after it), and without normalisation (paper/)."""
    found: dict[str, np.ndarray] = {}
    for kind in sorted({name.partition("/")[0] for name in case.arrays if "/" in name} - {"after"}):
        name = f"{kind}/x" if f"{kind}/x" in case.arrays else "x"
        x, cotangent = Tensor(case.images(name), requires_grad=True), case.images(f"{kind}/cotangent")
        module = layer(case, not kind.startswith("paper"), x.shape[1] // cotangent.shape[1])
        module.train(kind.startswith("train"))
        tap: dict[str, Any] = {}
        with batch_statistics() as seen:
            y = module(x, tap=tap)
        loss = (y * cotangent).sum()
        names, learning = zip(*module.named_parameters(), strict=True)
        in_x, *gradients = grad(loss, [x, *learning])
        part = {
            "output": case.laid_out(y.data),
            "loss": loss.data,
            "weights": tap["attention_weights"].data,
            "grad_input/x": case.laid_out(in_x),
            "grad_norm": np.array(global_norm(gradients)),
            **{f"grad/{name}": g for name, g in views(dict(zip(names, gradients, strict=True))).items()},
        }
        if seen:
            update_running(module, statistics_rows(module, seen, 1).data[0])
            state = views({name: tensor.data for name, tensor in module.named_tensors()})
            after = {f"after/{name}": x for name, x in state.items() if "running" in name}
            part |= after
            found |= after
        found |= {f"{kind}/{name}": x for name, x in part.items()}
    kernels = [name for name in found if name.endswith("grad/qkv_transform.weight") and name in case.arrays]
    return found | {name: found[name].reshape(case.arrays[name].shape) for name in kernels}  # perhaps of a Conv1d
