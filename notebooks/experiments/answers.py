"""Which images a model classifies correctly, as a text in the file of an experiment, to compare runs by image."""

import base64

import numpy as np

from minivit.data import Augment, Dataset, eval_batches
from minivit.nn import Module
from minivit.tensor import no_grad


def answers(model: Module, dataset: Dataset) -> np.ndarray:
    """Which images of the data set the model classifies correctly: (n,) of bool."""
    model.eval()
    batches = eval_batches(dataset, 500, Augment(dataset.image_size))
    with no_grad():
        return np.concatenate([model(images).data.argmax(axis=1) == labels for images, labels in batches])


def packed(right: np.ndarray) -> str:
    """(n,) of bool -> text, 8 images in a byte."""
    return base64.b64encode(np.packbits(right).tobytes()).decode("ascii")


def unpacked(text: str) -> np.ndarray:
    """What `packed` was given; n must have been a multiple of 8."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8)).astype(bool)
