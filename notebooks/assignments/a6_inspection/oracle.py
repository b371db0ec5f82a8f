"""The reference of A6: minivit's own functions and its own model. Students never have it."""

from types import SimpleNamespace

import numpy as np

from minivit.models import ViT, ViTConfig, inside
from minivit.models.posemb import resize_posemb


def resize_positions(table, old_grid, new_grid, prefix, method):
    return resize_posemb(table, tuple(old_grid), tuple(new_grid), prefix, method)


def adapt(params, config, new_config):
    old, new = ViTConfig(**config), ViTConfig(**new_config)
    fresh = ViT(new, 0, "float64").state_dict()
    kept = {name: np.array(value) for name, value in params.items() if not name.startswith("head.")}
    prefix = old.num_prefix_tokens
    kept["position_embedding"] = resize_posemb(params["position_embedding"], old.grid, new.grid, prefix)
    return {**fresh, **kept}


def attention_maps(params, config, images):
    model = ViT(ViTConfig(**config), None, "float64")
    model.load_state_dict(params)
    return inside.attention_weights(model, images)


def rollout(attention):
    return inside.rollout(attention)


def read_by_head(matrix, config):
    return inside.read_by_head(matrix, ViTConfig(**config))


def attention_distance(attention, grid, pitch):
    size = (grid[0] * pitch[0], grid[1] * pitch[1])
    return inside.attention_distance(attention, SimpleNamespace(grid=tuple(grid), image_size=size))


def position_similarity(table, grid):
    return inside.cosine_similarity(table, tuple(grid))


def principal_components(samples, count):
    return inside.principal_components(samples, count)
