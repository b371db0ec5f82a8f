"""Shared by the layouts of published weights: reads the shape of a model from the arrays of a file.

A layout is described in one direction only: a function that gives, for every array of ours, views of it under the
layout's names and in its shapes. Writing through the views loads a model; reading them exports one.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minivit.errors import CheckpointError, ConfigError, shown
from minivit.models.config import VARIANTS, ViTConfig, reduction_of
from minivit.models.foreign import refuse_model

Arrays = Mapping[str, np.ndarray]

MAX_DEPTH = 1000  # blocks; the deepest ViT has under a hundred

# Widths at which all published models have the same number of heads: where a file does not say it, this does.
HEADS = {width: heads for width, _, heads, _ in VARIANTS.values()}


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way of naming and arranging the arrays of a ViT.

    title: its name in messages.
    landmark: the key of the patch projection, which identifies the layout; one of `inner` and a prefix may precede it.
    position: the canonical name of the position table.
    canonical: arrays of any dialect of the layout -> under the names that `views` gives. Raises CheckpointError.
    config: (the canonical arrays, the fields of ViTConfig known from files beside them) -> the file's ViTConfig.
    views: (our arrays by name, config) -> views of them, by their names in the layout.
    resize: the method of `resize_posemb` that the other code uses for position embeddings.
    untold: fields of ViTConfig that the arrays do not determine, so the caller may set them.
    fixed: {field of ViTConfig: the values that the layout can express}, if it cannot express all.
    """

    name: str
    title: str
    landmark: str
    position: str
    canonical: Callable[[Arrays, str], dict[str, np.ndarray]]
    config: Callable[["Shapes", Mapping[str, Any]], ViTConfig]
    views: Callable[[Arrays, ViTConfig], dict[str, np.ndarray]]
    resize: str
    untold: tuple[str, ...]
    fixed: Mapping[str, tuple[Any, ...]]
    inner: tuple[str, ...] = ()

    def prefixes(self, arrays: Arrays) -> list[str]:
        """The prefixes of all models of this layout in a file: "module.", say, or "" for none.

        Models in the state of an optimiser, such as its moments, do not count.
        """
        found = []
        for key in arrays:
            prefix = key.removesuffix(self.landmark)
            if prefix != key and (not prefix or prefix[-1] in "./"):
                inner = next((name for name in self.inner if re.search(rf"(^|[./]){re.escape(name)}$", prefix)), "")
                found.append(prefix.removesuffix(inner))
        return sorted(p for p in found if p in DIALECTS or not _of_an_optimiser(p)) or found


# Prefixes that published code writes, the second and third beside the state of the optimiser.
DIALECTS = ("", "params/", "opt/target/")
_STATE = {"opt", "optimizer", "optim", "opt_state", "optimizer_state", "mu", "nu", "exp_avg", "exp_avg_sq"}
# What PyTorch puts between the names of modules that it wraps.
_WRAPPERS = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


def _of_an_optimiser(name: str) -> bool:
    return not _STATE.isdisjoint(re.split("[./]", name))


def without_prefix(arrays: Arrays, layout: Layout, source: str, chosen: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of the one model in a file, under their names without a prefix.

    chosen: the prefix that the caller wants; arrays outside it are dropped. Without it, only the state of an optimiser
    is dropped. Then several models, or other arrays beside one, raise CheckpointError with the choices.
    """
    unwrapped = {_WRAPPERS.sub("", key): array for key, array in arrays.items()}
    if len(unwrapped) != len(arrays):
        raise CheckpointError(f"{source} holds two arrays for one place in the model")
    arrays = unwrapped
    prefixes = layout.prefixes(arrays)
    if chosen is not None and chosen not in prefixes:
        raise CheckpointError(f'{source} has no model of prefix "{shown(chosen)}"; it has {_quoted(prefixes)}')
    if chosen is None and len(prefixes) > 1:
        raise CheckpointError(
            f"{source} holds {len(prefixes)} models: choose one by its prefix (--prefix), {_quoted(prefixes)}"
        )
    prefix = prefixes[0] if chosen is None else chosen
    longer = tuple(other for other in prefixes if other != prefix and other.startswith(prefix))  # models of their own
    inside = {key: array for key, array in arrays.items() if key.startswith(prefix) and not key.startswith(longer)}
    refuse_model(inside, source)
    others = [key for key in arrays if key not in inside and not _of_an_optimiser(key)]
    outside = [
        key for key in others if arrays[key].size > 1 and arrays[key].dtype.kind == "f"
    ]  # not a counter of steps
    if outside and chosen is None:
        some = ", ".join(map(shown, outside[:3])) + f" and {len(outside) - 3} more" * (len(outside) > 3)
        raise CheckpointError(
            f'{source} has arrays outside of the model "{shown(prefix)}": {some}; to leave them out, pass this prefix '
            f"(--prefix {shown(prefix)})"
        )
    return {key.removeprefix(prefix): array for key, array in inside.items()}


def _quoted(prefixes: list[str]) -> str:
    return " or ".join(f'"{shown(prefix)}"' for prefix in prefixes[:5])


class Shapes:
    """The shapes of the arrays of a file, and their ViTConfig. Raises CheckpointError for shapes that are not a ViT's.

    source: the file, kind: its layout, both for messages.   asked_size: the image_size that the caller wants. asks: a
    message for each missing setting. A placeholder is used for it, so that other misfits are reported first.
    """

    def __init__(self, arrays: Arrays, source: str, kind: str, asked_size: Any = None):
        self.arrays, self.source, self.kind, self.asked_size = arrays, source, kind, asked_size
        self.asks: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def __call__(self, key: str, axes: int) -> tuple[int, ...]:
        """The shape of `key`, which must exist with this number of axes."""
        if key not in self.arrays or self.arrays[key].ndim != axes:
            raise CheckpointError(f"{self.source} is not a {self.kind} checkpoint: it has no {key} with {axes} axes")
        return self.arrays[key].shape

    def depth(self, block: str) -> int:
        """The number of blocks.   block: the pattern of their keys, with one group for the number.

        Raises CheckpointError for more than any model has: each costs time and memory, even if its arrays are empty.
        """
        found = len({match[1] for key in self.arrays if (match := re.match(block, key))})
        if found > MAX_DEPTH:
            raise CheckpointError(f"{self.source} is not a ViT: it has {found} blocks, expected at most {MAX_DEPTH}")
        return found

    def config(self, fields: Mapping[str, Any], position: str) -> ViTConfig:
        """The ViTConfig of `fields`, with the grid of the position table under the key `position`."""
        try:
            times = reduction_of(fields.get("stem"))
            one_patch = ViTConfig(**{**fields, "image_size": tuple(times * side for side in fields["patch_size"])})
            if position in self.arrays:
                return self._with_grid(one_patch, fields, self(position, 3)[1])
            image_size = fields.get("image_size", self.asked_size)
            if image_size is None:
                self.asks.append(
                    f"{self.source} has no position embeddings from which to find image_size; pass it (--image-size)"
                )
                image_size = one_patch.image_size
            return dataclasses.replace(one_patch, image_size=image_size, position="none")
        except ConfigError as error:
            raise CheckpointError(f"{self.source} is not a {self.kind} checkpoint: {error}") from error

    def _with_grid(self, config: ViTConfig, fields: Mapping[str, Any], rows: int) -> ViTConfig:
        """The grid of a position table, for all tokens or the patches alone: as in the fields, or else a square, or
        else that of the requested image_size.   config: that of one patch."""
        orders = [False, True] if config.num_prefix_tokens else [False]
        if config.register_tokens:
            orders.reverse()  # models with registers rather have a table of the patches alone
        orders = [fields["no_embed_class"]] if "no_embed_class" in fields else orders
        likely = [("square", no_embed_class) for no_embed_class in orders]
        stated, asked = ([(size, o) for o in orders if size] for size in (fields.get("image_size"), self.asked_size))
        for size, no_embed_class in (*stated, *likely[:1], *asked, *likely[1:]):
            patches = rows - (0 if no_embed_class else config.num_prefix_tokens)
            side = math.isqrt(max(patches, 1))
            square = tuple(side * one for one in config.image_size)
            image_size: Any = square if size == "square" else size
            found = dataclasses.replace(config, image_size=image_size, no_embed_class=no_embed_class)
            if math.prod(found.grid) == patches:
                return found
        patches = rows - (0 if orders[0] else config.num_prefix_tokens)
        if patches < 1:
            raise ConfigError(f"it has {rows} position embeddings")
        self.asks.append(
            f"{self.source}: {patches} position embeddings are not a square grid; pass their image_size (--image-size)"
        )
        return config

    def heads(self, width: int, known: Mapping[str, Any]) -> int:
        """The number of heads, for layouts whose arrays do not determine it: as stated, or as in all models of this
        width."""
        if "heads" not in known and width not in HEADS:
            self.asks.append(
                f"{self.source} does not say how many heads share its {width} features; pass heads (--heads)"
            )
        return known.get("heads", HEADS.get(width, 1))


def split_name(name: str) -> tuple[str | None, str, str]:
    """Number of the block, module and array of one of our names: "blocks.3.mlp.out.bias" -> ("3", "mlp.out", "bias"),
    "class_token" -> (None, "class_token", "")."""
    parts = name.split(".")
    block = parts[1] if parts[0] == "blocks" else None
    parts = parts[2:] if block else parts
    return (block, ".".join(parts[:-1]), parts[-1]) if len(parts) > 1 else (block, parts[0], "")


def torch_view(array: np.ndarray, module: str, leaf: str, config: ViTConfig) -> np.ndarray:
    """An array of ours in PyTorch's form: kernels (out, in), the patch projection a convolution (D, C, height, width).
    module, leaf: as from `split_name`."""
    if (module, leaf) == ("patch_embed.projection", "weight"):
        kernel = array.reshape(*config.patch_size, config.channels, config.width)
        return kernel.transpose(3, 2, 0, 1)
    return array.T if leaf == "weight" else array
