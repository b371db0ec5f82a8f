"""Recordings that tests write, in the form of those of published code."""

import json

from minivit.lineage import verify
from minivit.models.archive import write_npz, write_safetensors


def write_case(folder, system, config, weights, found, layout="NCHW"):
    """A recording of a system.   found: its inputs and outputs.   layout: of images, in `found`."""
    name = f"{system}_own"
    write_safetensors(folder / f"{name}.safetensors", weights, {})
    write_npz(folder / f"{name}.io.npz", found)
    meta = {"config": config, "image_layout": layout}
    (folder / f"{name}.json").write_text(json.dumps(meta), encoding="utf-8")
    return verify.open_case(folder)


def wrong_arrays(case):
    """The names of the arrays that differ or are not known."""
    return [result.name for result in verify.compare(case) if not result.fine]
