"""Figures of runs, models and machines, each a function that writes one file (PNG, the computation graph SVG)."""

from minivit.plots.attention import attention_distance, attention_maps, attention_rollout
from minivit.plots.canvas import BLUE, GREEN, ORANGE
from minivit.plots.curves import accuracy_by_step, learning_curves, roofline
from minivit.plots.graph import computation_graph
from minivit.plots.rows import image_rows
from minivit.plots.weights import confusion_matrix, patch_filters, position_similarity

__all__ = [
    "BLUE",
    "GREEN",
    "ORANGE",
    "accuracy_by_step",
    "attention_distance",
    "attention_maps",
    "attention_rollout",
    "computation_graph",
    "confusion_matrix",
    "image_rows",
    "learning_curves",
    "patch_filters",
    "position_similarity",
    "roofline",
]
