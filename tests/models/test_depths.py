"""The layer of every parameter, as layer-wise decay of the learning rate counts them."""

import pytest

from minivit.models import ViT
from minivit.models.depths import layer_of

EVERYTHING = {"layer_scale": 0.1, "representation_size": 5, "register_tokens": 2}


def test_layers_are_counted_from_the_embeddings_to_the_head(tiny):
    config = tiny(depth=12)
    layers = {name: layer_of(name, config) for name, _ in ViT(config, seed=None).named_parameters()}
    assert {name: layer for name, layer in layers.items() if not name.startswith("blocks")} == {
        "class_token": 0,
        "position_embedding": 0,
        "patch_embed.projection.weight": 0,
        "patch_embed.projection.bias": 0,
        "norm.scale": 13,
        "norm.bias": 13,
        "head.weight": 13,
        "head.bias": 13,
    }
    for i in range(12):
        assert {layer for name, layer in layers.items() if name.startswith(f"blocks.{i}.")} == {i + 1}


@pytest.mark.parametrize(
    "changes",
    [
        EVERYTHING,
        {"distillation_token": True},
        {"position": "learned2d", "classifier": "gap", "fc_norm": True},
        {"stem": (1,), "stem_width": 32, "image_size": 32, "patch_size": 1},
    ],
)
def test_every_parameter_has_a_layer_and_none_goes_down(tiny, changes):
    config = tiny(depth=3, **changes)
    model = ViT(config, seed=None)
    tokens = [name for name, tensor in vars(model).items() if hasattr(tensor, "requires_grad")]
    assert all(layer_of(name, config) == 0 for name in tokens)
    layers = [layer_of(name, config) for name, _ in model.named_parameters() if name not in tokens]
    assert layers == sorted(layers)
    assert set(layers) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    "name", ["blocks.2.norm1.scale", "blocks", "blocks.x.norm1", "decoder.weight", "encoder.head", ""]
)
def test_a_name_of_no_parameter_is_refused(tiny, name):
    with pytest.raises(ValueError, match=rf'^layer_of: a ViT of depth 2 has no parameter "{name}"$'):
        layer_of(name, tiny())
