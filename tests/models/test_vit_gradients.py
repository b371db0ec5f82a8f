"""Gradients of whole models, to every parameter and to the images, against central differences."""

import numpy as np
import pytest

from minivit.gradcheck import check_gradients

MODELS = {
    "token": {},
    "gap": {"classifier": "gap"},
    "representation": {"representation_size": 5},
    "square images and patches": {"image_size": 6, "patch_size": 3, "channels": 3},
    "learned2d": {"position": "learned2d"},
    "sincos2d": {"position": "sincos2d"},
    "no positions, gap": {"position": "none", "classifier": "gap"},
    "erf": {"gelu": "erf"},
    "large eps": {"norm_eps": 0.1},
    "no head": {"num_classes": 0},
    "registers": {"register_tokens": 2},
    "registers, positions of patches alone": {"register_tokens": 2, "no_embed_class": True},
    "distillation": {"distillation_token": True},
    "distillation, no head": {"distillation_token": True, "num_classes": 0},
    "layer scale": {"layer_scale": 0.5},
    "norm after the mean, class token left out": {"classifier": "gap", "class_token": True, "fc_norm": True},
    "no biases of queries, keys, values": {"qkv_bias": False},
    "dropout": {"dropout": 0.2},
    "attention dropout": {"attention_dropout": 0.3},
    "drop path": {"drop_path": 0.5},
    "everything": {
        **{"classifier": "gap", "position": "learned2d", "representation_size": 5, "gelu": "erf"},
        **{"dropout": 0.1, "attention_dropout": 0.1, "drop_path": 0.3},
    },
}


@pytest.mark.parametrize("name", MODELS)
def test_gradients(tiny, perturbed, images, name):
    config = tiny(**MODELS[name])
    model = perturbed(config)

    def forward(x, *parameters):
        return model(x, rng=np.random.default_rng(1))  # the same masks at every call

    check_gradients(forward, images(config, batch=3), *model.parameters())
