"""The construction of Theorem 1 as it was recorded, at several sharpnesses, beside the convolutions."""

import numpy as np

from minivit import functional as F
from minivit.lineage.cordonnier import as_convolution, bound
from minivit.lineage.verify import Case
from minivit.tensor import Tensor


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording, by its name there."""
    x, kernel, bias = (case.input(name) for name in ("x_nhwc", "conv_weight_hwio", "conv_bias"))
    rows, columns = kernel.shape[0] - 1, kernel.shape[1] - 1
    above, before = rows // 2, columns // 2
    around = ((0, 0), (above, rows - above), (before, columns - before), (0, 0))

    def convolved(images: np.ndarray) -> np.ndarray:
        return F.conv2d(images, kernel, 1, "valid").data + bias

    repeated, zero = convolved(np.pad(x, around, mode="edge")), convolved(np.pad(x, around))
    found = {"conv_replicate": repeated, "conv_zero": zero}
    if rows < x.shape[1] and columns < x.shape[2]:
        found["conv_valid"] = convolved(x)
    inner = np.s_[:, above : x.shape[1] - (rows - above), before : x.shape[2] - (columns - before)]
    errors = []
    for sharpness in case.config["alphas"]:
        y = as_convolution(kernel, bias, sharpness, case.config["heads"])(Tensor(x)).data
        found[f"attention/alpha{sharpness}"] = y
        distances = (abs(y - repeated).max(), abs(y - repeated)[inner].max(initial=0.0), abs(y - zero).max())
        errors.append((sharpness, *distances))
    bounds = [(sharpness, bound(sharpness)) for sharpness in case.config["alphas"]]
    return {**found, "errors": np.array(errors), "weights_bound": np.array(bounds)}
