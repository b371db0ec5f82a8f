"""Things that know they are a Vision Transformer: configuration, model, position embeddings, published weights."""

from minivit.models.config import VARIANTS, ViTConfig
from minivit.models.convert import export, load_pretrained
from minivit.models.posemb import resize_posemb
from minivit.models.vit import ViT

__all__ = ["VARIANTS", "ViT", "ViTConfig", "export", "load_pretrained", "resize_posemb"]
