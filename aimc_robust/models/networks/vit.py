"""A small vision transformer for small images (Dosovitskiy et al., ICLR 2021)."""

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, require_finite, require_whole


class EncoderBlock(nn.Module):
    """LayerNorm and attention, then LayerNorm and two linear layers with GELU, both with a residual connection.

    It uses nn.MultiheadAttention, not torch's encoder layer: all four projections are on arrays, and there is no
    dropout of attention weights.
    """

    def __init__(self, dim: int, heads: int, mlp_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, mlp_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(mlp_dim, dim), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the encoded tokens for x (N, tokens, dim)."""
        tokens = self.norm1(x)
        x = x + self.dropout(self.attention(tokens, tokens, tokens, need_weights=False)[0])
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Patches and a class token with learned positions, `depth` encoder blocks, LayerNorm, a linear layer.

    The m-RWP paper says ViT-S on CIFAR; the defaults here are those of the authors' public code: patches of 4 x 4, dim
    512, 6 blocks of 8 heads, MLPs of 512, dropout 0.1 after the embedding, the attention and both linear layers, class
    token and positions drawn from N(0, 1). Unlike there, query, key and value have biases, as in the original
    transformer paper: 9216 of the 9.5 million weights. `image_size` is (H, W) [pixels], `patch` the side of a patch.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        image_size: tuple[int, int],
        patch: int = 4,
        dim: int = 512,
        depth: int = 6,
        heads: int = 8,
        mlp_dim: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        for name, value in (("patch", patch), ("dim", dim), ("depth", depth), ("heads", heads), ("mlp_dim", mlp_dim)):
            require_whole(f"{name} of vit-s", value, low=1, high=4096)
        require_finite("dropout of vit-s", dropout, high=0.99)
        height, width = image_size
        if height % patch or width % patch:
            raise InputError(f"patch of vit-s must divide the image's {height} x {width} pixels, got {patch}.")
        if dim % heads:
            raise InputError(f"dim of vit-s must be a multiple of its {heads} heads, got {dim}.")
        self.class_token = nn.Parameter(torch.randn(1, 1, dim))
        self.position = nn.Parameter(torch.randn(1, 1 + height // patch * (width // patch), dim))
        self.patches = nn.Conv2d(in_channels, dim, patch, patch)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(EncoderBlock(dim, heads, mlp_dim, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Linear(dim, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores (N, classes) of images (N, in_channels, H, W)."""
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1)
        encoded = self.blocks(self.dropout(tokens + self.position))
        return self.classifier(self.norm(encoded[:, 0]))
