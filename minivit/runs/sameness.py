"""What all ranks of a run must agree on: versions, options and data."""

import hashlib
from typing import Any

import numpy as np

import minivit
from minivit.data import ArrayDataset, Dataset, EncodedDataset
from minivit.runs.recipes import Recipe, to_mapping

OWN = ("data_root", "workers", "accumulate")  # options that may differ between machines
SAMPLES = 1000  # images or places of a data set that are compared


def facts(recipe: Recipe, train: Dataset, test: Dataset | None) -> dict[str, Any]:
    """The facts by name, in plain words."""
    found = {"minivit": minivit.__version__, "NumPy": np.__version__}
    found |= {f"option {name}": value for name, value in to_mapping(recipe).items() if name not in OWN}
    found["training data"] = fingerprint(train)
    if test is not None:
        found["test data"] = fingerprint(test)
    return found


def fingerprint(data: Dataset) -> str:
    """A data set in a few words, with a digest of its classes, its labels and a sample of its images or their names."""
    digest = hashlib.blake2b(digest_size=6)
    digest.update("\0".join(data.classes).encode("utf-8", "surrogatepass"))
    digest.update(np.ascontiguousarray(data.labels).data)
    sample = np.unique(np.linspace(0, max(0, len(data) - 1), min(SAMPLES, len(data))).astype(np.int64))
    if isinstance(data, ArrayDataset):
        digest.update(np.ascontiguousarray(data.images[sample]).data)
    elif isinstance(data, EncodedDataset):
        digest.update("\0".join(data.place(int(i)) for i in sample).encode("utf-8", "surrogatepass"))
    return f"{data.name}: {len(data):,} images of {len(data.classes)} classes, digest {digest.hexdigest()}"
