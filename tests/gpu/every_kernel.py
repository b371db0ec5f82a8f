"""A few updates of small models that between them launch every kernel, and attention at the sizes of real models: to be
run under compute-sanitizer. Every array is an allocation of its own, so that overruns are seen."""

import numpy as np

from minivit import functional as F
from minivit.backend import get_namespace
from minivit.backend.precision import precision
from minivit.data import ArrayDataset
from minivit.models import ViTConfig
from minivit.runs.recipes import Recipe
from minivit.runs.trainer import Trainer
from minivit.tensor import Tensor, grad

cupy = get_namespace("cupy")
cupy.cuda.set_allocator(None)  # no pool
rng = np.random.default_rng(0)
for in_precision, width, optimizer, mixing in (
    ("float32", 50, "sgd", {}),
    ("bf16", 64, "adamw", {"mixup": 0.5}),
    ("bf16", 160, "adamw", {"cutmix": 0.5}),
):
    model = ViTConfig(image_size=20, patch_size=5, width=width, depth=2, heads=2, mlp_width=70, num_classes=5)
    recipe = Recipe(
        model=model, batch_size=3, steps=4, precision=in_precision, backend="cupy", optimizer=optimizer, ema=0.9,
        graph=False, flip=True, crop_padding=2, randaugment=(2, 9.0), erasing=0.5, lr=1e-3, workers=1, **mixing,
    )  # fmt: skip
    data = ArrayDataset(rng.integers(0, 256, (9, 20, 20, 3), np.uint8), np.arange(9) % 5, list("abcde"), "random")
    for progress in Trainer(recipe, data, data, None).run():
        assert np.isfinite(progress.loss)
    with precision(in_precision):
        x = Tensor(cupy.asarray(rng.standard_normal((7, 33)), "float32"), requires_grad=True)
        grad(F.softmax(x), [x], cupy.ones((7, 33), "float32"))
        for form in ("erf", "quick"):
            grad(F.gelu(x, form), [x], cupy.ones((7, 33), "float32"))
        y = F.embedding(x, cupy.asarray([[6, 0, 6], [2, 1, 6]]))
        grad(y, [x], y.data)
        tokens = x.reshape(1, 7, 33)
        y = F.attend(tokens, tokens, tokens, x[:, :7], heads=3, mask=cupy.tri(7, k=-1, dtype=bool))
        grad(y, [x], y.data)
for tokens, features in ((65, 64), (197, 64), (50, 80), (81, 128)):
    with precision("bf16"):
        qkv = Tensor(cupy.asarray(rng.standard_normal((1, tokens, 3 * features)), "float32"), requires_grad=True)
        y = F.attention(qkv, 1)
        grad(y, [qkv], y.data)
cupy.cuda.runtime.deviceSynchronize()
print("every kernel ran")
