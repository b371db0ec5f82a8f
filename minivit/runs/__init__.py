"""A run: its recipe, its folder, the training loop, evaluation, and starting from the weights of another model."""

from minivit.runs.folder import create, create_numbered, load_trained, read_checkpoint, read_recipe

__all__ = ["create", "create_numbered", "load_trained", "read_checkpoint", "read_recipe"]
