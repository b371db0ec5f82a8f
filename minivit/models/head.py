"""The classification head."""

from minivit.backend.precision import wide_results
from minivit.nn import Linear
from minivit.tensor import Tensor


class Head(Linear):
    """A Linear whose values stay float32 in mixed precision: in bfloat16, many logits would be equal."""

    def forward(self, x: Tensor) -> Tensor:
        with wide_results():
            return super().forward(x)
