"""Which GPU, driver and versions these figures are of."""

import shutil
import subprocess
import sys

from minivit.backend import get_namespace

if shutil.which("nvidia-smi"):
    fields = "--query-gpu=name,compute_cap,driver_version,memory.total,clocks.sm,clocks.max.sm,power.limit"
    subprocess.run(["nvidia-smi", fields, "--format=csv,noheader"], check=False)
subprocess.run([sys.executable, "-m", "minivit.doctor"], check=False)
cupy = get_namespace("cupy")
if "--small" not in sys.argv:
    cupy.show_config()
