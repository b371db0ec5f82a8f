"""The digits that come with minivit: 1,797 real handwritten digits of 8x8 pixels, no download needed.

They are the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI Machine
Learning Repository, https://doi.org/10.24432/C50P49, licence CC BY 4.0. `digits.npz` holds the numbers of
scikit-learn's copy (`digits.csv.gz`) unchanged: `images` (1797, 8, 8) uint8 in 0..16, the count of black pixels in
each 4x4 block of a 32x32 scan, and `labels` (1797,) uint8. `digits.md`, beside it, gives the two lines that made it.
"""

from importlib import resources

import numpy as np

from minivit.data.dataset import ArrayDataset

SIDE = 8  # pixels


def load_digits(split: str) -> ArrayDataset:
    """The digits' "train" (1,438 images) or "test" (359) split: every fifth image, index % 5 == 4, is a test image.

    The split is minivit's own (the original files separate 30 writers from 13 others, and these images are the 13's);
    writers therefore occur on both sides. Images are (N, 8, 8, 1) uint8: counts 0..16 scaled to 0..255 and rounded.
    """
    with (
        resources.files("minivit.data").joinpath("digits.npz").open("rb") as packed,
        np.load(packed, allow_pickle=False) as file,
    ):
        counts, labels = file["images"], file["labels"]
    images = np.rint(counts * (255 / 16)).astype(np.uint8)[..., None]
    is_test = np.arange(len(labels)) % 5 == 4
    chosen = is_test if split == "test" else ~is_test
    return ArrayDataset(images[chosen], labels[chosen], [str(digit) for digit in range(10)], "digits")
