"""Models: the Vision Transformer, its hybrids, the ResNet for comparison; positions, published weights."""

from minivit.models.config import HYBRIDS, VARIANTS, ViTConfig
from minivit.models.freezing import freeze
from minivit.models.posemb import resize_posemb
from minivit.models.pretrained import Published, export, load_pretrained, open_pretrained
from minivit.models.resnet import ResNet, ResNetConfig
from minivit.models.vit import ViT

__all__ = [
    "HYBRIDS", "VARIANTS", "Published", "ResNet", "ResNetConfig", "ViT", "ViTConfig", "export", "freeze",
    "load_pretrained", "open_pretrained", "resize_posemb",
]  # fmt: skip
