"""RMS norm (Zhang and Sennrich 2019) as torch's own operation instead of six.

y = x / sqrt(mean(x^2) + eps) * weight. transformers spells it out (`Qwen2_5_VLRMSNorm`): on a GPU that is six kernels
and as many passes over memory, 73 times per step of the 3B model. In float32 both agree to rounding. In half precision
this one rounds once, after the weight, where transformers rounds before it as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import rms_norm

if TYPE_CHECKING:
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRMSNorm


class FusedNorm(nn.Module):
    """Takes the place of a `Qwen2_5_VLRMSNorm`, with its weight."""

    def __init__(self, norm: Qwen2_5_VLRMSNorm) -> None:
        super().__init__()
        self.weight = norm.weight
        self.variance_epsilon = float(norm.variance_epsilon)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., D], normalised over the last dimension."""
        return rms_norm(hidden, self.weight.shape, self.weight, self.variance_epsilon)


def fuse_norms(model: nn.Module) -> None:
    """Replace all norms of a Qwen2.5-VL."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRMSNorm

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Qwen2_5_VLRMSNorm):
                setattr(parent, name, FusedNorm(child))
