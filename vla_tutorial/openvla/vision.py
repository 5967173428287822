"""The fused vision tower: DINOv2 and SigLIP over the same image, and the projector behind them.

Module names are the keys of the published checkpoints, for example
`vision_backbone.featurizer.blocks.0.attn.qkv.weight`, so nothing is renamed at loading.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_tutorial.openvla.config import VisionConfig, ViTConfig

# timm's value for both transformers; PyTorch's default of 1e-5 shifts logits by 6e-4.
LAYER_NORM_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention without a mask."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.proj = nn.Linear(config.dim, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, d) → (N, T, d)."""
        q, k, v = (
            self.qkv(x)
            .unflatten(-1, (3, self.heads, -1))
            .permute(
                2,
                0,
                3,
                1,
                4,
            )
        )
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Two layers with the exact (erf) GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(…, d) → (…, d)."""
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(…, d) → (…, d)."""
        return x * self.scale_factor


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        scale = LayerScale if config.layer_scale else nn.Identity
        self.norm1 = nn.LayerNorm(config.dim, LAYER_NORM_EPS)
        self.attn = Attention(config)
        self.ls1 = scale(config.dim)
        self.norm2 = nn.LayerNorm(config.dim, LAYER_NORM_EPS)
        self.mlp = MLP(config.dim, config.mlp_hidden)
        self.ls2 = scale(config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, d) → (N, T, d)."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]


class AttentionPool(nn.Module):
    """SigLIP's pooling head, which the checkpoints carry and OpenVLA never runs."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.q = nn.Linear(config.dim, config.dim)
        self.kv = nn.Linear(config.dim, 2 * config.dim)
        self.proj = nn.Linear(config.dim, config.dim)
        self.norm = nn.LayerNorm(config.dim, LAYER_NORM_EPS)
        self.mlp = MLP(config.dim, config.mlp_hidden)


class PatchEmbed(nn.Module):
    """Cuts an image into patches and maps each to a vector."""

    def __init__(self, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_size, patch_size)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, S, S) → (N, patches, d), row by row."""
        if self.training:
            return self._as_product(image)
        return self.proj(image).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]

    def _as_product(self, image: Tensor) -> Tensor:
        """The same but for rounding: GPUs have no quick convolution of three channels."""
        side = self.proj.stride[0]
        columns = image.unfold(2, side, side).unfold(3, side, side)
        # (N, 3, S/P, S/P, P, P) → (N, patches, 3 · P · P)
        patches = columns.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


def _learned(tokens: int, dim: int) -> nn.Parameter:
    initial = nn.init.normal_(torch.empty(1, tokens, dim), std=0.02)
    return nn.Parameter(initial)


class ViT(nn.Module):
    """A vision transformer up to the block whose output OpenVLA uses."""

    def __init__(self, config: ViTConfig, patches: int, patch_size: int) -> None:
        super().__init__()
        self.config = config
        if config.class_token:
            self.cls_token = _learned(1, config.dim)
        if config.registers:
            self.reg_token = _learned(config.registers, config.dim)
        self.pos_embed = _learned(patches, config.dim)
        self.patch_embed = PatchEmbed(config.dim, patch_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, LAYER_NORM_EPS)
        if config.attention_pool:
            self.attn_pool = AttentionPool(config)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, S, S) → (N, patches, d); positions are added to the patches, not to the prefix."""
        x = self.patch_embed(image) + self.pos_embed
        sequence = [x]
        if self.config.registers:
            sequence.insert(0, self.reg_token.expand(len(x), -1, -1))
        if self.config.class_token:
            sequence.insert(0, self.cls_token.expand(len(x), -1, -1))
        x = torch.cat(sequence, 1)
        for block in self.blocks[: self.config.used_blocks]:
            x = block(x)
        return x[:, self.config.prefix :]  # type: ignore[no-any-return]


class VisionBackbone(nn.Module):
    """Both transformers, side by side."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.image_size = config.image_size
        self.featurizer = ViT(config.dino, config.patches, config.patch_size)
        self.fused_featurizer = ViT(config.siglip, config.patches, config.patch_size)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(N, 6, S, S), three channels for DINO and three for SigLIP → (N, patches, both widths).

        A picture larger than the tower's by a whole factor is averaged down, so that smaller
        models take the same 224-pixel input.
        """
        if pixel_values.shape[-1] != self.image_size:
            pixel_values = F.avg_pool2d(pixel_values, pixel_values.shape[-1] // self.image_size)
        for_dino = pixel_values[:, :3]
        for_siglip = pixel_values[:, 3:]
        # Training compiles the forward, which must be the same inside a capture and outside.
        branches = not self.training and pixel_values.is_cuda
        if not (branches and torch.cuda.is_current_stream_capturing()):
            features = [self.featurizer(for_dino), self.fused_featurizer(for_siglip)]
            return torch.cat(features, -1)
        # In a CUDA graph the towers become two branches: for few images neither fills the GPU.
        main = torch.cuda.current_stream()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(main)
        with torch.cuda.stream(side):
            siglip = self.fused_featurizer(for_siglip)
        dino = self.featurizer(for_dino)
        main.wait_stream(side)
        return torch.cat([dino, siglip], -1)


class Projector(nn.Module):
    """Patch features into the language model's space; exact GELU after the first two layers."""

    def __init__(self, width: int, hidden_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, hidden_size)
        self.fc3 = nn.Linear(hidden_size, hidden_size)

    def forward(self, features: Tensor) -> Tensor:
        """(N, patches, width) → (N, patches, hidden_size)."""
        x = F.gelu(self.fc1(features))
        x = F.gelu(self.fc2(x))
        return self.fc3(x)  # type: ignore[no-any-return]
