"""Builds the objective of a run from its recipe."""

import dataclasses
from collections.abc import Sequence

from minivit import lineage
from minivit.errors import ConfigError
from minivit.lineage import Given
from minivit.models.families import build
from minivit.nn import Module
from minivit.runs.recipes import Recipe
from minivit.update.objective import Objective


def make_objective(
    recipe: Recipe, classes: Sequence[str], images: int, start: Module | None = None, teacher: Module | None = None
) -> Objective:
    """The training objective of a recipe, for this number of training images.

    start: an encoder with starting weights; None draws them.   teacher: the network that the objective's teacher names,
    with configuration `recipe.teacher`; without one its weights are 0, to be loaded later.
    Raises ConfigError for a teacher of another shape.
    """
    if teacher is not None and teacher.config != recipe.teacher:  # type: ignore[attr-defined]
        raise ConfigError("the teacher's config is not the recipe's: Recipe(teacher=teacher.config, ...)")
    if teacher is None and recipe.teacher is not None:
        teacher = build(recipe.teacher, seed=None, dtype=recipe.dtype)
    given = Given(recipe.model, classes, recipe.total_steps(images), recipe.seed, recipe.dtype, start)
    if teacher is None:
        return lineage.build(recipe, given)
    for _, tensor in teacher.named_tensors():
        tensor.data = tensor.data.astype(recipe.dtype)
    return lineage.build(recipe, dataclasses.replace(given, teacher=teacher.freeze()))
