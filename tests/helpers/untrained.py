"""A run folder without any training, for commands that only look at one."""

from pathlib import Path
from typing import Any

from minivit import data
from minivit.runs import folder as run_folder
from minivit.runs.objectives import make_objective
from minivit.runs.presets import preset
from minivit.runs.recipes import complete
from minivit.update.objective import Objective


def untrained(folder: Path, name: str, **changes: Any) -> Objective:
    """Make a run folder of a preset with its first weights, as if it had been saved before the first step."""
    choices = preset(name) | changes
    known = data.load(choices["data"], split="train").limit(64)
    recipe = complete(choices, known)
    run_folder.create(folder, recipe)
    objective = make_objective(recipe, known.classes, len(known))
    meta = {"step": 0, "sums": {}, "metrics": [], "classes": list(known.classes), "images": len(known)}
    run_folder.write_checkpoint(folder, {"objective": objective.state_dict()}, meta)
    return objective.eval()


SAM = {
    "objective": {"name": "sam", "heads": 2, "mlp_width": 8, "iou_width": 8, "mask_channels": 4},
    "model": {"name": "sam", "image_size": 32, "patch_size": 8, "width": 8, "depth": 1, "heads": 2, "mlp_width": 8,
              "window": 0, "global_blocks": [0], "filters": 16},
}  # fmt: skip
