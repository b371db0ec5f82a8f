"""Parameter counts of the official models, without allocating them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from minivit.models import HYBRIDS, ViT, ViTConfig

MODELS = ["Ti/16", "S/16", "S/32", "B/16", "B/32", "B/8", "L/16", "L/32", "H/14", *HYBRIDS]


@pytest.mark.parametrize("name", MODELS)
def test_counts_equal_the_official_models(vector_path, name):
    stem, plus, transformer = name.replace("/", "_").rpartition("+")
    recorded = json.loads(vector_path("counts.json").read_text(encoding="utf-8"))[f"{stem}{plus}ViT-{transformer}"]
    image_384 = 378 if name == "H/14" else 384  # the published code drops the pixels that H/14's patches leave
    changes = {
        "params_1000": {},
        "params_nohead": {"num_classes": 0},
        "params_gap_1000": {"classifier": "gap"},
        "params_21843_rep": {"num_classes": 21843, "representation_size": ViTConfig.variant(name).width},
        "params_1000_384": {"image_size": image_384},
    }
    counts = {key: ViT(ViTConfig.variant(name, **c), seed=None).num_parameters() for key, c in changes.items()}
    assert counts == recorded


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory of a process from /proc")
def test_counting_the_largest_model_takes_no_memory():
    program = """
from pathlib import Path
from minivit.models import ViT, ViTConfig

def peak_memory():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])

before = peak_memory()
print(ViT(ViTConfig.variant("H/14"), seed=None).num_parameters(), peak_memory() - before)
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    count, grown = map(int, output.split())
    assert count == 632_045_800
    assert grown < 50e6  # the parameters would be 2.5 GB
