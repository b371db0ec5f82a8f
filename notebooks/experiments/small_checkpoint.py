"""The weights that notebook 18 looks at: those of a run folder, without the optimiser's state, rounded to float16.

From the folder notebooks/, the first command six minutes of two cores:

    python -m minivit.train --preset cifar10-10min --position learned --classifier token --epochs 4 --out runs/cifar
    python -m experiments.small_checkpoint runs/cifar

Writes results/vit_cifar10.safetensors, which `minivit.models.load_pretrained` reads; its header has the shape of the
model and the accuracy of the rounded weights on the test images of the run's data set.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from experiments import record

from minivit.backend.workers import Workers
from minivit.data import load
from minivit.models import export, load_pretrained
from minivit.models.archive import read_arrays, write_safetensors
from minivit.runs import folder as run_folder
from minivit.runs.evaluation import evaluate


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    model, recipe, _ = run_folder.load_trained(parser.parse_args(arguments).run)
    with tempfile.TemporaryDirectory() as folder, Workers(1) as workers:
        path = Path(folder) / "weights.safetensors"  # what ships is replaced at the end, by a whole file
        export(model, path, "timm")
        arrays, metadata = read_arrays(path)
        arrays = {name: array.astype(np.float16) for name, array in arrays.items()}
        write_safetensors(path, arrays, metadata)
        result = evaluate(load_pretrained(path), load(recipe.data, split="test"), recipe, workers)
    metadata |= {"test_accuracy": str(result["accuracy"])}
    write_safetensors(record.RESULTS / "vit_cifar10.safetensors", arrays, metadata)


if __name__ == "__main__":
    main()
