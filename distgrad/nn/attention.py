"""Multi-head attention: names, weights and masks are PyTorch's."""

from __future__ import annotations

from distgrad.autograd.device import Device
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.kinds import Count, Probability, Size
from distgrad.nn import init
from distgrad.nn.functional.multi_head import Heads, attend, checked
from distgrad.nn.linear import Linear
from distgrad.nn.make import ParameterDType, empty
from distgrad.nn.module import Module


class MultiheadAttention(Module):
    """Attention in ``num_heads`` parts of the features, joined by ``out_proj`` (Vaswani 2017).

    ``add_bias_kv`` adds a learned key and value to each sequence, ``add_zero_attn`` one of zeros.
    ``kdim`` and ``vdim`` are the features of keys and values, ``embed_dim`` if None. Errors:
    ShapeError if ``num_heads`` does not divide ``embed_dim``.
    """

    def __init__(
        self,
        embed_dim: Size,
        num_heads: Size,
        dropout: Probability = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: Count | None = None,
        vdim: Count | None = None,
        batch_first: bool = False,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ShapeError(
                f"MultiheadAttention: num_heads={num_heads} must divide embed_dim={embed_dim}"
            )
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.in_proj_weight = self.q_proj_weight = self.k_proj_weight = self.v_proj_weight = None
        self.in_proj_bias = self.bias_k = self.bias_v = None
        # PyTorch draws out_proj first.
        out_proj = Linear(embed_dim, embed_dim, bias)
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = init.xavier_uniform_(empty(3 * embed_dim, embed_dim))
        else:
            self.q_proj_weight = init.xavier_uniform_(empty(embed_dim, embed_dim))
            self.k_proj_weight = init.xavier_uniform_(empty(embed_dim, self.kdim))
            self.v_proj_weight = init.xavier_uniform_(empty(embed_dim, self.vdim))
        if out_proj.bias is not None:
            self.in_proj_bias = empty(3 * embed_dim)
            init.zeros_(out_proj.bias)
        if add_bias_kv:
            self.bias_k = init.xavier_normal_(empty(1, 1, embed_dim))
            self.bias_v = init.xavier_normal_(empty(1, 1, embed_dim))
        self.out_proj = out_proj

    def forward(
        self,
        query: TensorLike,
        key: TensorLike,
        value: TensorLike,
        key_padding_mask: TensorLike | None = None,
        need_weights: bool = True,
        attn_mask: TensorLike | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what the queries (t, b, e) find in keys and values (s, b, …), and the weights.

        Axes are (b, t, e) with ``batch_first``; b may be left out. ``key_padding_mask`` (b, s) and
        ``attn_mask`` (t, s) or (b x heads, t, s) are added to the scores or, if boolean, True for
        keys that are NOT seen. ``is_causal`` lets query i see keys 0..i, and needs no mask. A query
        that sees no key finds zeros. The weights are (b, t, s), or (b, heads, t, s) unless
        averaged; without ``need_weights`` they are None, and a faster way is taken.
        Errors: ShapeError.
        """
        sizes = (self.embed_dim, self.kdim, self.vdim)
        q, k, v = checked("MultiheadAttention", query, key, value, sizes, self.batch_first)
        heads = Heads(
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight),
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout if self.training else 0.0,
            self.out_proj.weight,
            self.out_proj.bias,
        )
        masks = key_padding_mask, attn_mask, is_causal
        weights = need_weights, average_attn_weights
        return attend(heads, q, k, v, *masks, *weights, self.batch_first)
