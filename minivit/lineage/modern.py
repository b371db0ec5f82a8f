"""The modern ViT: the parts that later models exchange, in one block, each by a field of its configuration.

New against ViT, with x a token, D its width, g and s learned:

    RMSNorm     x / sqrt(mean(x^2) + eps) * g        no mean, no bias      (Zhang & Sennrich, arXiv 1910.07467)
    QK-norm     q and k of each head are normalised, before RoPE and 1/sqrt(Dh), by one g for all heads
                                                      (Henry et al., 2010.04245; ViT-22B, 2302.05442)
    SwiGLU      (silu(x G) * x V) W                   three matrices        (Shazeer, 2002.05202)
    LayerScale  x + s * branch(x)                                           (Touvron et al., 2103.17239)
    registers   learned tokens that nobody reads: [class], registers, patches   (Darcet et al., 2309.16588)
    GAP         the mean over patches answers, without [class] and registers
    positions   RoPE (`models.rope`), or a bias on the scores (`models.relative`), or both with a learned table

Models made of them: EVA-02 (RoPE, SwiGLU, no bias of keys, in Base and Large a norm before the last matrix of the MLP),
RoPE-ViT, DINOv3 (RoPE, registers, LayerScale), BEiT (a table of relative positions), timm's vit_relpos.

Published code is timm's eva.py, beit.py, vision_transformer.py and vision_transformer_relpos.py. Where it differs: its
kernels begin as N(0, 0.02), ours as a ViT's. DINOv3 stretches positions at random in training, here nothing is random.
The bias of a key adds the same to all scores of a query, so its gradient is 0; that is why EVA and BEiT have none.

B batch, N tokens, D width, H heads, Dh width of a head, F width of the MLP.
"""

import functools
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.lineage.modern_config import NAMES, ModernConfig, fields
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.models.relative import RelativeMLP, RelativeTable
from minivit.models.rope import Rope
from minivit.nn import Dropout, DropPath, LayerNorm, Linear, Module, PatchEmbed, RMSNorm, ScaleNorm
from minivit.nn import initialisers as init
from minivit.nn.attention import note_weights
from minivit.nn.layer_scale import LayerScale
from minivit.nn.layers import Rng, Tap
from minivit.nn.recompute import recompute
from minivit.tensor import Tensor

PARITY = "EVA-02, RoPE-ViT, DINOv3, BEiT and a ViT of modern parts in timm: outputs, gradients, tables of positions"


def norm(config: ModernConfig, width: int, dtype: str) -> Module:
    """The norm of a configuration."""
    kind = {"layer": LayerNorm, "layer-no-bias": ScaleNorm, "rms": RMSNorm}[config.norm]
    return kind(width, config.norm_eps, dtype)


def relative_positions(config: ModernConfig, shared: bool, rng: init.Rng, dtype: str) -> Module | None:
    """The module that gives relative positions, (H, N, N): of a block, or the one that all share."""
    kind = config.relative
    if kind == "none" or kind.startswith("shared") != shared:
        return None
    if kind in ("table", "shared"):
        return RelativeTable(config.grid, config.heads, config.class_token, dtype)
    swin = kind.endswith("swin-mlp")
    return RelativeMLP(config.grid, config.heads, rng, dtype, config.relative_width, config.before, swin)


class Attention(Module):
    """Attention with normalised and turned queries and keys, and a bias on the scores.   x: (B, N, D) -> (B, N, D)."""

    q_bias: Any = None
    v_bias: Any = None
    q_norm: Any = None
    k_norm: Any = None
    norm: Any = None

    def __init__(self, config: ModernConfig, rng: init.Rng, dtype: str):
        width, self.heads = config.width, config.heads
        self.qkv = Linear(width, 3 * width, rng, dtype, weight=init.three_xavier, bias=config.qkv_bias == "all")
        if config.qkv_bias == "qv":
            self.q_bias, self.v_bias = (init.parameter(init.constant(0, (width,)), dtype) for _ in range(2))
        if config.qk_norm:
            self.q_norm, self.k_norm = (norm(config, width // config.heads, dtype) for _ in range(2))
        self.relative = relative_positions(config, False, rng, dtype)
        if config.attention_norm:
            self.norm = norm(config, width, dtype)
        self.out = Linear(width, width, rng, dtype)

    def forward(
        self, x: Tensor, rope: Rope | None = None, angles: Array | Tensor = None, bias: Tensor | None = None,
        tap: Tap = None,
    ) -> Tensor:  # fmt: skip
        """bias: (H, N, N), that all blocks share; a block that has its own uses that."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x)
        if self.q_bias is not None:
            qkv = qkv + F.concat(self.q_bias, Tensor(self.q_bias.data * 0), self.v_bias, axis=0)
        q, k, v = (qkv[..., i * width : (i + 1) * width] for i in range(3))
        q, k = (part.reshape(batch, tokens, self.heads, width // self.heads) for part in (q, k))
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rope(q, angles), rope(k, angles)
        q, k = (part.reshape(batch, tokens, width) for part in (q, k))
        bias = bias if self.relative is None else self.relative()
        note_weights(tap, q, k, self.heads, bias)
        y = F.attend(q, k, v, bias, heads=self.heads)
        return self.out(y if self.norm is None else self.norm(y))


class ModernMLP(Module):
    """x -> act(x G) * (x V), normalised or not, -> times W.   (B, N, D) -> (B, N, F) -> (B, N, D).

    hidden: G and V side by side, (D, 2 F), as timm's `fc1`; without a gate one matrix (D, F), and gelu of it.
    """

    def __init__(self, config: ModernConfig, rng: init.Rng, dtype: str):
        width, inner, self.kind = config.width, config.mlp_width, config.mlp
        gated = self.kind != "gelu"
        self.hidden = Linear(
            width, inner * (1 + gated), rng, dtype, weight=two_xavier if gated else init.xavier_uniform
        )
        self.norm = norm(config, inner, dtype) if config.mlp_norm else None
        self.out = Linear(inner, width, rng, dtype)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        if self.kind == "gelu":
            h = F.linear_gelu(x, self.hidden.weight, self.hidden.bias, "erf")
        else:
            h, inner = self.hidden(x), self.out.weight.shape[0]
            gate, value = h[..., :inner], h[..., inner:]
            h = F.swiglu(gate, value) if self.kind == "swiglu" else F.gelu(gate, "erf") * value
        h = self.dropout(h, rng)
        return self.dropout(self.out(h if self.norm is None else self.norm(h)), rng)


def two_xavier(rng: init.Rng, fan_in: int, fan_out: int) -> np.ndarray:
    """Two (D, F) matrices side by side, each drawn for itself."""
    if rng is None:
        return init.constant(0, (fan_in, fan_out))
    return np.concatenate([init.xavier_uniform(rng, fan_in, fan_out // 2) for _ in range(2)], axis=1)


class Block(Module):
    """x + s1 attention(norm(x)), then x + s2 mlp(norm(x)).   x: (B, N, D) -> (B, N, D)."""

    def __init__(self, config: ModernConfig, drop_path: float, rng: init.Rng, dtype: str):
        width, value = config.width, config.layer_scale
        self.norm1 = norm(config, width, dtype)
        self.attention = Attention(config, rng, dtype)
        self.scale1 = value and LayerScale(width, value, dtype)
        self.norm2 = norm(config, width, dtype)
        self.mlp = ModernMLP(config, rng, dtype)
        self.scale2 = value and LayerScale(width, value, dtype)
        self.dropout, self.drop_path = Dropout(config.dropout), DropPath(drop_path)

    def forward(
        self, x: Tensor, rng: Rng = None, rope: Rope | None = None, angles: Array | Tensor = None,
        bias: Tensor | None = None, tap: Tap = None,
    ) -> Tensor:  # fmt: skip
        branch = self.dropout(self.attention(self.norm1(x), rope, angles, bias, tap), rng)
        x = x + self.drop_path(self.scale1(branch) if self.scale1 else branch, rng)
        branch = self.mlp(self.norm2(x), rng)
        x = x + self.drop_path(self.scale2(branch) if self.scale2 else branch, rng)
        if tap is not None:
            tap["output"] = x
        return x


class Modern(Module):
    """The model of `config`; the head begins at zero. seed, dtype, recompute_blocks: as in `ViT`."""

    recompute_blocks = False
    position_embedding: Tensor

    def __init__(self, config: ModernConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config, width = config, config.width
        self.patch_embed = PatchEmbed(config.patch_size, config.channels, width, rng, dtype)
        rows = {
            "class_token": int(config.class_token),
            "register_tokens": config.register_tokens,
            "position_embedding": {"none": 0, "learned": config.num_tokens}.get(
                config.position, config.num_tokens - config.before
            ),
        }
        for name, count in rows.items():
            if count:
                setattr(self, name, init.parameter(init.normal(rng, (1, count, width), 0.02), dtype))
        self.rope = None
        if config.rope != "none":
            options = config.rope_base, config.rope_x_first, config.rope_grid, config.rope_first, config.rope_halves
            heads, depth = config.heads, config.depth
            self.rope = Rope(config.rope, width // heads, heads, depth, rng, dtype, *options)
        self.relative = relative_positions(config, True, rng, dtype)
        rates = [config.drop_path * i / max(1, config.depth - 1) for i in range(config.depth)]
        self.blocks = [Block(config, rate, rng, dtype) for rate in rates]
        self.norm = norm(config, width, dtype)
        if config.num_classes:
            self.head = Head(width, config.num_classes, rng, dtype, weight=init.zeros)
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, D) without a head.   images: (B, height, width, C), also of other
        sizes than the configuration's, unless there are tables for its grid. tap: as in `ViT`."""
        images = self.tensor(images)
        grid = images.shape[1] // self.config.patch_size[0], images.shape[2] // self.config.patch_size[1]
        return self.classify(self.encode(self.embed(images, grid), grid, rng, tap), tap)

    def embed(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches, positions and the tokens before the patches.   (B, height, width, C) -> (B, N, D)."""
        config = self.config
        if grid != config.grid and (config.position != "none" or config.relative != "none"):
            raise ValueError(f"Modern: images are {images.shape}, but its tables are for {config.grid} patches")
        x = self.patch_embed(images)
        x = x + self.position_embedding if config.position == "patches" else x
        tokens = [getattr(self, name) for name in ("class_token", "register_tokens") if hasattr(self, name)]
        before = [F.broadcast_to(token, (len(images.data), *token.shape[1:])) for token in tokens]
        x = F.concat(*before, x, axis=1) if before else x
        return x + self.position_embedding if config.position == "learned" else x

    def encode(self, x: Tensor, grid: tuple[int, int], rng: Rng = None, tap: Tap = None) -> Tensor:
        """All blocks, without the last norm.   x: (B, N, D) -> (B, N, D)."""
        again = self.recompute_blocks and tap is None
        bias = None if self.relative is None or again else self.relative()
        shared = [p for part in (self.rope, self.relative) if part for p in part.parameters()]
        for i, block in enumerate(self.blocks):
            inner: Tap = None if tap is None else {}
            run = functools.partial(self.block, i, grid, bias=bias, tap=inner)
            x = recompute(run, x, [*block.parameters(), *shared], rng) if again else run(x, rng)
            for name, value in (inner or {}).items():
                tap[f"block{i}/{name}"] = value  # type: ignore[index]
        return x

    def block(
        self, i: int, grid: tuple[int, int], x: Tensor, rng: Rng = None, bias: Tensor | None = None, tap: Tap = None
    ) -> Tensor:
        """Block i.   bias: shared relative positions, if they are there already."""
        bias = self.relative() if bias is None and self.relative is not None else bias
        angles = None if self.rope is None else self.rope.angles(grid, i, x.data)
        return self.blocks[i](x, rng, self.rope, angles, bias, tap)

    def classify(self, x: Tensor, tap: Tap = None) -> Tensor:
        """The tokens after the last block -> features (B, D) -> logits, if there is a head."""
        config = self.config
        encoded = x if config.fc_norm else self.norm(x)
        features = encoded[:, 0] if config.classifier == "token" else encoded[:, config.before :].mean(axis=1)
        features = self.norm(features) if config.fc_norm else features
        if tap is not None:
            tap.update(encoded=encoded, features=features)
        return self.head(features) if config.num_classes else features


FAMILY = Family(ModernConfig, Modern, NAMES, fields)
