"""The running example of notebooks 03 to 11: one handwritten digit, and a small ViT trained on others."""

import numpy as np

from minivit.lessons.cells import result_file
from minivit.lessons.training import digits
from minivit.models import ViT, load_pretrained

INDEX = 34  # of the test digits: a 7 with a bar, easy to recognise


def running_digit() -> tuple[ViT, np.ndarray, int]:
    """A trained ViT, an image (8, 8, 1) uint8 from outside its training data, and the image's label.

    The model has patches of 2x2 pixels, so 16 patches and 17 tokens, width 32, 4 heads, 3 blocks and an MLP of width
    64. Its weights are in notebooks/results, made by notebooks/experiments/digit_model.py. Raises FileNotFoundError, or
    an error of `load_pretrained`, if they are missing.
    """
    image, label = digits()[1][INDEX]
    model = load_pretrained(result_file("vit_digits.safetensors"))
    model.eval()
    return model, image, int(label)
