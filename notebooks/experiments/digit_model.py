"""The small trained model that notebooks 03 to 11 show at work on one digit.

From the folder notebooks/, about half a minute of one core:

    OPENBLAS_NUM_THREADS=1 python -m experiments.digit_model

Writes results/vit_digits.safetensors, which `minivit.models.load_pretrained` reads; its header has the shape of the
model and its accuracy on the test digits.
"""

import tempfile
from pathlib import Path

from experiments import record

from minivit.lessons import accuracy, digits, fit
from minivit.models import ViT, ViTConfig, export
from minivit.models.archive import read_arrays, write_safetensors

CONFIG = {"image_size": 8, "channels": 1, "patch_size": 2, "width": 32, "depth": 3, "heads": 4, "mlp_width": 64}
STEPS = 1_500


def main() -> None:
    train, test = digits()
    model = ViT(ViTConfig(**CONFIG, num_classes=10), seed=0)
    fit(model, train, STEPS, batch_size=64, lr=3e-3, weight_decay=0.1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        export(model, path, "timm")
        arrays, metadata = read_arrays(path)
    metadata["test_accuracy"] = str(round(accuracy(model, test), 4))
    write_safetensors(record.RESULTS / "vit_digits.safetensors", arrays, metadata)
    print(f"{model.num_parameters():,} parameters, {accuracy(model, test):.2%} of the test digits are right")


if __name__ == "__main__":
    main()
