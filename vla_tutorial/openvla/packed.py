"""Matrix products of small models on a CPU through oneDNN, with weights laid out once for it.

PyTorch's own choice for float32 is MKL, which on AMD processors reaches less than half of oneDNN's speed (112 against 250 GFLOP/s on two threads of
an EPYC, 200 × 192 × 768); on Intel's they are about equal.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW_ROWS = 4
"""Up to this many rows a product is bound by calling it, and the plain one costs less."""

MAX_PARAMETERS = 10**8
"""The packed weights are a second copy: for larger models memory matters more."""

Product = Callable[[Tensor], Tensor]
"""(…, in) → (…, out)."""


def available(model: nn.Module) -> bool:
    """Whether packing is possible and worth it: float32 on a CPU, a PyTorch with oneDNN, and not a large model."""
    weight = next(model.parameters())
    small = sum(p.numel() for p in model.parameters()) <= MAX_PARAMETERS
    return (
        small and weight.device.type == "cpu" and weight.dtype == torch.float32 and _have_onednn()
    )


def _have_onednn() -> bool:
    ops = torch.ops.mkldnn
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(ops, "_linear_pointwise")
        and hasattr(ops, "_reorder_linear_weight")
    )  # type: ignore[no-untyped-call]


def packed(weight: Tensor, bias: Tensor | None = None) -> Product:
    """x → x · weightᵀ + bias for weight (out, in) float32."""
    layout = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)

    def product(x: Tensor) -> Tensor:
        if x.numel() <= FEW_ROWS * x.shape[-1]:
            return F.linear(x, weight, bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, layout, bias, "none", [], "")
        return out

    return product


def pack_linears(model: nn.Module) -> None:
    """Let every linear layer of `model` run packed. Weights changed afterwards have no effect."""
    with torch.inference_mode():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.forward = packed(module.weight, module.bias)  # type: ignore[assignment, method-assign]
