"""Multi-head attention with projections in arrays; scores, softmax and their products stay digital."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.errors import InputError


class AnalogAttention(nn.Module):
    """Replacement of nn.MultiheadAttention, with the same arguments and results.

    `projections` are one layer with the outputs of query, key and value, or one for each. If these differ, joint arrays
    are read once for each of them.
    """

    def __init__(self, attention: nn.MultiheadAttention, projections: Sequence[nn.Module], out_proj: nn.Module) -> None:
        super().__init__()
        self.projections, self.out_proj = nn.ModuleList(projections), out_proj
        self.embed_dim, self.num_heads, self.head_dim = attention.embed_dim, attention.num_heads, attention.head_dim
        self.batch_first, self.add_zero_attn = attention.batch_first, attention.add_zero_attn
        self.dropout = float(attention.dropout)
        self.bias_k, self.bias_v = attention.bias_k, attention.bias_v
        self.in_proj_bias = None  # prevents the fast path of nn.TransformerEncoderLayer, which would bypass arrays

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Compute attention as nn.MultiheadAttention does.

        Torch takes `is_causal` with a mask only. If neither weights nor padding need the mask, torch masks causally
        without reading it, which makes a difference if keys are added (`add_bias_kv`, `add_zero_attn`).

        Raises:
            InputError: if `is_causal` comes without a mask.
        """
        if is_causal and attn_mask is None:
            raise InputError("attention takes `is_causal` together with a causal `attn_mask`, got no mask.")
        is_causal = is_causal and key_padding_mask is None and not need_weights
        attn_mask = None if is_causal else attn_mask
        unbatched = query.ndim == 2
        if unbatched:
            query, key, value = _map_distinct((query, key, value), lambda x: x.unsqueeze(0))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = _map_distinct((query, key, value), lambda x: x.transpose(0, 1))
        q, k, v = self._project(query, key, value)
        mask = _additive_mask(key_padding_mask, q.dtype, lambda mask: mask[:, None, None, :])
        mask = _add_masks(mask, _additive_mask(attn_mask, q.dtype, lambda mask: self._per_head(mask, len(q))))
        k, v, mask = self._append_bias_and_zero(k, v, mask)
        q, k, v = (x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2) for x in (q, k, v))
        weights = None
        if need_weights:
            scores = (q * self.head_dim**-0.5) @ k.transpose(-2, -1)
            weights = F.dropout(
                torch.softmax(scores if mask is None else scores + mask, dim=-1), self.dropout, self.training
            )
            mixed = weights @ v
            weights = weights.mean(dim=1) if average_attn_weights else weights
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0, is_causal)
        out = self.out_proj(mixed.transpose(1, 2).flatten(2))
        if unbatched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), weights

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        inputs = (query, key, value)
        if len(self.projections) == 3:
            return [projection(x) for projection, x in zip(self.projections, inputs, strict=True)]
        outputs = _map_distinct(inputs, lambda x: self.projections[0](x).chunk(3, dim=-1))
        return [output[part] for part, output in enumerate(outputs)]

    def _per_head(self, mask: Tensor, images: int) -> Tensor:
        return mask if mask.ndim == 2 else mask.unflatten(0, (images, self.num_heads))

    def _append_bias_and_zero(self, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Append the learned and the zero entry to keys and values, as configured."""
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(len(k), 1, -1).to(k.dtype)], dim=1)
            v = torch.cat([v, self.bias_v.expand(len(v), 1, -1).to(v.dtype)], dim=1)
        if self.add_zero_attn:
            k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
        added = (self.bias_k is not None) + self.add_zero_attn
        return k, v, mask if mask is None else F.pad(mask, (0, added))


def _map_distinct(inputs: tuple[Tensor, ...], function: Callable[[Tensor], Any]) -> list[Any]:
    """Apply a function to every input, once for a tensor that occurs several times."""
    results = {id(x): function(x) for x in {id(x): x for x in inputs}.values()}
    return [results[id(x)] for x in inputs]


def _additive_mask(mask: Tensor | None, dtype: torch.dtype, shape: Callable[[Tensor], Tensor]) -> Tensor | None:
    """Convert a mask to values that are added to scores, broadcastable to (images, heads, queries, keys)."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(mask, float("-inf"))
    return shape(mask)


def _add_masks(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return second if first is None else first if second is None else first + second
