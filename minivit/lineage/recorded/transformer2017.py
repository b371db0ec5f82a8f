"""The Transformer of 2017 as torch.nn has it: names and shapes of its arrays, and what was recorded of its encoder."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.lineage import transformer2017
from minivit.lineage.published import Arrays, fill
from minivit.lineage.transformer2017 import Encoder, Transformer2017Config
from minivit.lineage.verify import Case
from minivit.models.layouts import Shapes
from minivit.nn import Module
from minivit.optim import global_norm
from minivit.tensor import Tensor, grad

_NAMES = (  # ours -> torch's; weights of dense layers are transposed
    (r"attention\.qkv\.(weight|bias)", r"self_attn.in_proj_\1"),
    (r"attention\.out\.", "self_attn.out_proj."),
    (r"cross\.(query|key|value)\.(weight|bias)", r"multihead_attn.\1_\2"),
    (r"cross\.out\.", "multihead_attn.out_proj."),
    (r"mlp\.hidden\.", "linear1."),
    (r"mlp\.out\.", "linear2."),
    (r"(norm\d?)\.scale", r"\1.weight"),
)


def views(state: Arrays) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, of a stack of layers as views under torch's names and in its shapes."""
    found = {}
    for name, x in state.items():
        theirs = name
        for own, other in _NAMES:
            theirs = re.sub(own, other, theirs)
        found[theirs] = x.T if name.endswith(".weight") else x
    return found


def canonical(arrays: Arrays) -> dict[str, np.ndarray]:
    """torch's arrays of a stack of layers, with queries, keys and values of attention to another sequence apart."""
    found = dict(arrays)
    for name in [name for name in found if ".multihead_attn.in_proj_" in name]:
        parts = np.split(found.pop(name), 3)
        for part, x in zip(("query", "key", "value"), parts, strict=True):
            found[name.replace("in_proj", part)] = x
    return found


def load(module: Module, arrays: Arrays, source: str = "the file") -> None:
    """Copy the arrays of torch.nn.TransformerEncoder into an Encoder, or those of torch.nn.TransformerDecoder into any
    module with `layers` and `norm`. Raises CheckpointError."""
    own = views({name: tensor.data for name, tensor in module.named_tensors()})
    fill(own, canonical(arrays), source)


def told_by(arrays: Arrays, config: Mapping[str, Any] | str, title: str, source: str) -> Transformer2017Config:
    """The configuration of an encoder: sizes from its arrays, the rest from a mapping with torch's names or from words,
    "heads 2, eps 1e-5"."""
    shapes = Shapes(arrays, source, "Transformer encoder's")
    hidden, width = shapes("layers.0.linear1.weight", 2)
    words = config if isinstance(config, str) else " ".join(f"{name} {value}" for name, value in config.items())
    heads = re.search(r"\b(?:n?heads?|num_heads)\W+(\d+)|\b(\d+) heads", words)
    eps = re.search(r"\b(?:eps|layer_norm_eps|norm_eps)\W+([\d.e-]+\d)", words)
    said = f"{words} {title}".lower()
    return Transformer2017Config(
        width=width,
        depth=shapes.depth(r"layers\.(\d+)\."),
        heads=int(heads[1] or heads[2]) if heads else max(1, width // 64),
        mlp_width=hidden,
        dropout=0.0,
        norm="pre" if re.search(r"norm_first\W+true|\bpre-?(ln|norm)|norm pre", said) else "post",
        final_norm="norm.weight" in arrays,
        act="gelu" if "gelu" in said else "relu",
        norm_eps=float(eps[1]) if eps else 1e-5,
        num_classes=0,
    )


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that the encoder defines, by its name there. Names may begin with a case, `a/`."""
    config = told_by(case.weights, case.config, str(case.meta.get("system", "")), case.name)
    encoder = Encoder(config, None, "float64")
    load(encoder, case.weights, case.name)
    found: dict[str, np.ndarray] = {}
    for name in [name for name in case.arrays if re.fullmatch(r"(\w+/)?image", name)]:
        before = name.removesuffix("image")
        found |= {f"{before}{key}": x for key, x in of_one(encoder.eval(), case, before).items()}
    for name in [name for name in case.arrays if name.rpartition("/")[2] == "sinusoid"]:
        found[name] = transformer2017.sinusoids(*case.arrays[name].shape)
    return found


def of_one(encoder: Encoder, case: Case, before: str) -> dict[str, np.ndarray]:
    """What follows from one input: the embedding and the positions, or, without an embedding, the sum of both."""

    def given(name: str) -> np.ndarray | None:
        place = next((place for place in (f"{before}{name}", name) if place in case.arrays), None)
        return None if place is None else case.input(place)

    tap: dict[str, Any] = {}
    embedding, padding = given("embedding"), given("key_padding")
    if embedding is None:
        image = case.input(f"{before}image")
    else:
        image = embedding + transformer2017.sinusoids(*embedding.shape[1:])
    x = Tensor(image, requires_grad=True)
    y = encoder(x, tap=tap, padding=None if padding is None else padding.astype(bool))
    found = {"image": image, "output": y.data}
    for name, value in tap.items():
        place, _, part = name.partition("/")
        theirs = {"output": "", "middle": ".norm1"}.get(part)
        if theirs is not None:
            found[f"tap/{place.replace('layer', 'layers.')}{theirs}"] = getattr(value, "data", value)
    cotangent, labels = given("cotangent"), given("labels")
    if cotangent is None and labels is None:
        return found
    loss = (y * cotangent).sum() if labels is None else F.cross_entropy(y, labels)
    names, learning = zip(*encoder.named_parameters(), strict=True)
    in_image, *gradients = grad(loss, [x, *learning])
    found |= {"loss": loss.data, "grad_input/image": in_image, "grad_norm": np.array(global_norm(gradients))}
    return found | {f"grad/{name}": g for name, g in views(dict(zip(names, gradients, strict=True))).items()}
