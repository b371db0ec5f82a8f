"""What a run minimises, as its recipe says."""

from minivit.models import ResNet, ViT
from minivit.models.families import build
from minivit.runs.recipes import Recipe
from minivit.update.objective import Classification, Objective


def make_objective(recipe: Recipe, model: ViT | ResNet | None = None) -> Objective:
    """What a recipe minimises.   model: with the weights to start from; without one they are drawn."""
    model = model or build(recipe.model, seed=recipe.seed, dtype=recipe.dtype)
    return Classification(model, recipe.loss, recipe.label_smoothing, recipe.mixup, recipe.cutmix)
