"""What the GPU can do at best: a large copy, and large matrix products in each precision."""

import sys

from minivit.backend import get_namespace
from minivit.backend.rates import device_copy_rate, device_matmul_rate

cupy = get_namespace("cupy")
small = "--small" in sys.argv
print(f"copy {device_copy_rate(cupy, 1 if small else 4096):.0f} GB/s")
for precision in ("float32", "tf32", "bf16"):
    print(f"{precision} {device_matmul_rate(cupy, precision) / 1e3:.1f} TFLOP/s")
