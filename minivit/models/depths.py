"""The depth of a parameter in a ViT, for learning rates that shrink towards the input (layer-wise decay)."""

from minivit.models.config import ViTConfig
from minivit.models.freezing import HEAD

BEFORE = ("stem", "patch_embed", "class_token", "distillation_token", "register_tokens")
POSITIONS = ("position_embedding", "row_embedding", "column_embedding")


def layer_of(name: str, config: ViTConfig) -> int:
    """0 for embeddings, tokens and positions, i + 1 for block i, L + 1 for the last LayerNorm and the head.

    Fine-tuning uses the rate lr * decay ** (L + 1 - layer). name: of a parameter, as in `named_parameters`. Raises
    ValueError for a name that a ViT of `config` does not have. Source: BEiT (Bao et al. 2021); MAE uses the same rule.
    """
    part, _, inner = name.partition(".")
    if part in (*BEFORE, *POSITIONS):
        return 0
    if part in ("norm", *HEAD):
        return config.depth + 1
    number = inner.partition(".")[0]
    if part != "blocks" or not number.isdecimal() or int(number) >= config.depth:
        raise ValueError(f'layer_of: a ViT of depth {config.depth} has no parameter "{name}"')
    return int(number) + 1
