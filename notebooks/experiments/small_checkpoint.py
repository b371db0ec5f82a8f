"""The weights that notebook 18 looks at: those of a run folder, without the optimiser's state, rounded to float16.

From the folder notebooks/, the first command six minutes of two cores:

    python -m minivit.train --preset cifar10-10min --position learned --classifier token --epochs 4 --out runs/cifar
    python -m experiments.small_checkpoint runs/cifar

Writes results/vit_cifar10.safetensors, which `minivit.models.load_pretrained` reads; the shape is in its header.
"""

import sys
from pathlib import Path

import numpy as np
from experiments import record

from minivit import runs
from minivit.models import export
from minivit.models.archive import read_arrays, write_safetensors


def main(run: str) -> None:
    path = record.RESULTS / "vit_cifar10.safetensors"
    model, _, _ = runs.load_trained(Path(run))
    export(model, path, "timm")
    arrays, metadata = read_arrays(path)
    write_safetensors(path, {name: array.astype(np.float16) for name, array in arrays.items()}, metadata)


if __name__ == "__main__":
    main(sys.argv[1])
