"""Freezes parts of a model: nothing, the first blocks, or all but the head."""

from minivit.models.resnet import ResNet
from minivit.models.vit import ViT
from minivit.tensor import Tensor

HEAD = ("pre_logits", "head", "distillation_head")  # what is not the backbone


def freeze(model: ViT | ResNet, how: str | int | None) -> None:
    """Freeze part of the model, before an optimiser is made for it.

    how: None, nothing; "backbone", all but the head: a linear probe; or N, the embeddings and the first N blocks.
    Frozen Tensors require no gradient, so the tape begins at the first layer that learns; frozen layers apply no
    dropout. State dicts contain frozen Tensors as before.
    """
    if how is None:
        return
    learning = set(HEAD)
    if isinstance(how, int):
        assert isinstance(model, ViT)
        learning |= {"norm", *(f"blocks.{i}" for i in range(how, len(model.blocks)))}
    for name, child in model.named_children():
        if name not in learning:
            child.freeze()
    for value in vars(model).values():  # the learned tokens and positions
        if isinstance(value, Tensor):
            value.requires_grad = False
