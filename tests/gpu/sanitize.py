"""compute-sanitizer on every_kernel.py: python sanitize.py TOOL [PART OF A KERNEL'S NAME]

Of a kernel of our own by its name: the tool would be slow in the library's, and find there what is not ours.
"""

import subprocess
import sys
from pathlib import Path

tool, *kernels = sys.argv[1:]
script = str(Path(__file__).with_name("every_kernel.py"))
for option in ("--kernel-name", "--kernel-regex") if kernels else ("",):  # newer versions, older ones
    chosen = [option, f"kns={kernels[0]}"] if kernels else []
    command = ["compute-sanitizer", "--tool", tool, "--target-processes", "application-only", *chosen]
    result = subprocess.run([*command, sys.executable, script], capture_output=True, text=True, check=False)
    print(result.stdout, result.stderr, flush=True)
    if result.returncode == 0 or "every kernel ran" in result.stdout:
        break
sys.exit(result.returncode)
