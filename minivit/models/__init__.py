"""Things that know they are a Vision Transformer: configuration, model, position embeddings, published weights."""

from minivit.models.config import VARIANTS, ViTConfig
from minivit.models.freezing import freeze
from minivit.models.posemb import resize_posemb
from minivit.models.pretrained import Published, export, load_pretrained, open_pretrained
from minivit.models.vit import ViT

__all__ = [
    "VARIANTS",
    "Published",
    "ViT",
    "ViTConfig",
    "export",
    "freeze",
    "load_pretrained",
    "open_pretrained",
    "resize_posemb",
]
