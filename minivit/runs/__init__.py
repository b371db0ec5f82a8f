"""A run: its choices, its folder, the loop, its evaluation; the weights of one model as the start of another."""

from minivit.runs.folder import create, create_numbered, load_trained, read_checkpoint, read_recipe

__all__ = ["create", "create_numbered", "load_trained", "read_checkpoint", "read_recipe"]
