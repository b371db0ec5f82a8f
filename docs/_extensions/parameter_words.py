"""What parameters mean whose name says the same wherever it stands, so that not every docstring has to say it.

By room, then by name; what a docstring says of a parameter goes first. The options of `minivit.train` explain the
choices of a run.
"""

import dataclasses
import functools
import re

from minivit.cli.train_options import OF_THE_MODEL
from minivit.runs.recipes import Recipe

WORDS: dict[str, dict[str, str]] = {
    "minivit": {
        "batch_size": "images per batch",
        "classes": "names of the classes; a label is a place among them",
        "config": "the shape of the model",
        "dataset": "labelled images",
        "fan_in": "width of the input",
        "fan_out": "width of the output",
        "grads": "a gradient for each parameter",
        "lr": "learning rate",
        "model": "the model",
        "num_classes": "number of classes",
        "optimizer": "what updates the parameters",
        "recipe": "every choice of the run",
        "rng": "draws the random numbers",
        "seed": "of the random numbers: the same seed, the same numbers",
        "total_steps": "updates of the whole run",
        "train_data": "the images to learn from",
        "test_data": "the images to be judged by",
        "weight_decay": "share of a kernel that an update takes away, times the learning rate",
        "workers": "threads that share the work",
    },
    "minivit.nn": {
        "attention_dropout": "rate of dropout on the attention weights",
        "bias": "whether there is a bias",
        "bias_std": "standard deviation of the initial bias",
        "drop_path": "rate at which a branch is left out while training",
        "dropout": "rate of dropout while training",
        "dtype": '"float32" or "float64"',
        "eps": "added to the variance",
        "gelu": '"tanh" or "erf"',
        "heads": "number of heads, H",
        "hidden": "hidden width, F",
        "mlp_width": "hidden width of the MLP, F",
        "norm_eps": "added to the variance in LayerNorm",
        "qkv_bias": "whether queries, keys and values have biases",
        "rng": "draws the initial values or the masks; None draws none",
        "weight": "draws the initial weight from (rng, fan_in, fan_out)",
        "stride": "step of the window, in pixels",
        "width": "width of the tokens, D",
    },
    "minivit.models": {"dtype": '"float32" or "float64"'},
    "minivit.data": {
        "bad_images": 'what to do with images that cannot be read: "refuse" or "skip"',
        "labels": "a number for each image",
        "name": "what messages call it",
        "split": '"train" or "test".',
    },
    "minivit.runs.folder": {"folder": "of the run"},
    "minivit.runs.trainer": {"folder": "of the run; None writes nothing"},
    "minivit.runs.recipes": {"choices": "fields of a Recipe by name"},
}


def words(parameter: str, owner: str) -> str:
    """What a parameter of `owner`, a full name, means in general; "" if that is not known."""
    if text := option_words(owner).get(parameter):
        return text
    rooms = [room for room in WORDS if f"{owner}.".startswith(f"{room}.")]
    return next(
        (WORDS[room][parameter] for room in sorted(rooms, key=len, reverse=True) if parameter in WORDS[room]), ""
    )


@functools.cache
def option_words(owner: str) -> dict[str, str]:
    """The help of each choice of a run, without the default, which the table has; of other classes none."""
    if owner == "minivit.runs.recipes.Recipe":
        found = {field.name: field.metadata.get("help", "") for field in dataclasses.fields(Recipe)}
    else:
        found = {name: text for name, (*_, text) in OF_THE_MODEL.items() if owner == "minivit.models.config.ViTConfig"}
    return {name: re.sub(r" \(default[^()]*\)$", "", text) for name, text in found.items()}
