"""Presets: named sets of choices for a training run."""

import copy
from typing import Any

from minivit import lineage
from minivit.errors import ConfigError, meant, shown

# Every preset: fields of Recipe, and under "model" of ViTConfig or ResNetConfig; image size, channels and classes
# come from the data unless given.
PRESETS: dict[str, dict[str, Any]] = {
    "digits": {
        "data": "digits",
        "model": {"patch_size": 2, "width": 64, "depth": 4, "heads": 4, "mlp_width": 128, "dropout": 0.1},
        "batch_size": 64,
        "epochs": 50,
        "lr": 3e-3,
        "ema": 0.99,
        "mixup": 0.4,
        "eval_every": 110,
    },
    "cifar10-10min": {
        "data": "cifar10",
        "model": {
            "patch_size": 4,
            "width": 96,
            "depth": 6,
            "heads": 3,
            "mlp_width": 192,
            "classifier": "gap",
            "position": "sincos2d",
        },
        "batch_size": 128,
        "epochs": 5.5,
        "lr": 1e-3,
        "beta2": 0.99,
        "flip": True,
        "eval_every": 585,
        "mean": (0.49, 0.48, 0.45),
        "std": 0.25,
    },
    "cifar10": {
        "data": "cifar10",
        "model": {"patch_size": 4, "width": 192, "depth": 9, "heads": 3, "mlp_width": 768, "drop_path": 0.1},
        "batch_size": 256,
        "epochs": 200,
        "lr": 1e-3,
        "flip": True,
        "crop_padding": 4,
        "randaugment": (2, 9),
        "mixup": 0.8,
        "cutmix": 1.0,
        "label_smoothing": 0.1,
        "eval_every": 1950,
        "ema": 0.9995,
    },
    "cifar10-resnet": {  # as much work per image as the ViT of cifar10-10min, whose recipe this is but for the lr
        "data": "cifar10",
        "model": {"units": (2, 2, 2), "width": 16, "groups": 16, "root": "3x3"},
        "batch_size": 128,
        "epochs": 5.5,
        "lr": 5e-3,
        "beta2": 0.99,
        "flip": True,
        "eval_every": 585,
        "mean": (0.49, 0.48, 0.45),
        "std": 0.25,
    },
    "imagefolder": {
        "model": {"image_size": 224, "patch_size": 16, "width": 192, "depth": 12, "heads": 3, "mlp_width": 768},
        "batch_size": 64,
        "epochs": 100,
        "lr": 1e-3,
        "flip": True,
        "resized_crop": (0.25, 1.0),
        "randaugment": (2, 10),
        "mixup": 0.2,
    },
    # The paper's (appendix B.1.1). Shape and normalisation come with the weights, batch and steps from `transfer`.
    "finetune": {
        "optimizer": "sgd",
        "momentum": 0.9,
        "lr": 0.01,
        "schedule": "cosine",
        "warmup": 0.05,
        "weight_decay": 0.0,
        "clip_norm": 1.0,
    },
}


def preset_for(data: str) -> str:
    """The default preset for a data set."""
    drawn = "shapes", "scenes", "nested", "captions"  # of 32x32 pixels, as those of CIFAR
    small = dict.fromkeys((*drawn, "cifar10", "cifar100"), "cifar10-10min")
    return {"digits": "digits", "clips": "digits", **small}.get(data, "imagefolder")


def of_objective(name: str, data: str | None) -> str | None:
    """The first preset in the file of an objective's system, for this data set if one is given; None without one.
    Raises ConfigError for an unknown objective."""
    lineage.objective_class(name)
    own = lineage.presets([name if name in lineage.SYSTEMS else lineage.OBJECTIVES[name].partition(":")[0]])
    fitting = (key for key, fields in own.items() if fields["objective"]["name"] == name)
    return next((key for key in fitting if data in (None, own[key].get("data"))), None)


def preset(name: str) -> dict[str, Any]:
    """The choices of a preset, also from the lineage files. Raises ConfigError with the nearest name."""
    known = (
        PRESETS if name in PRESETS else {**PRESETS, **lineage.presets(), **PRESETS}
    )  # our own first, whatever the family calls its
    if name not in known:
        hint = meant(name, known, 0.3) or f"; choose one of {', '.join(known)}"
        raise ConfigError(f'unknown preset "{shown(name)}"{hint}')
    return copy.deepcopy(known[name])  # the caller's to change
