"""An ONNX graph as it is built: operators in their order, and weights beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

OPSET = 18
IR_VERSION = 8
"""Of onnx 1.13. Every onnxruntime since then reads both."""

MICROSOFT = "com.microsoft"
"""The domain of onnxruntime's own fused operators, which its build for browsers has as well."""

END = 2**31
"""A slice's end behind every axis."""


class Graph:
    """Nodes and constants. Every method that adds an operator returns its output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._names: dict[tuple[bytes, tuple[int, ...], str], str] = {}
        self._weights: dict[tuple[int, torch.Size], tuple[Tensor, str]] = {}
        self._values = 0

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """An operator with one output, of ONNX or, where one of its own is named, onnxruntime."""
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """An operator with several outputs."""
        names = [f"v{self._values + i}" for i in range(outputs)]
        self._values += outputs
        domain = MICROSOFT if kind in _FUSED else ""
        self.nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return names

    def constant(self, values: NDArray[Any]) -> str:
        """A constant as it is; equal ones are kept once."""
        key = (values.tobytes(), values.shape, str(values.dtype))
        if key not in self._names:
            self._names[key] = f"c{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(values, self._names[key]))
        return self._names[key]

    def whole(self, *values: int) -> str:
        """A list of whole numbers."""
        return self.constant(np.array(values, np.int64))

    def floats(self, tensor: Tensor) -> str:
        """A constant in float32."""
        return self.constant(tensor.detach().float().contiguous().numpy())

    def weight(self, tensor: Tensor, *, turned: bool = False) -> str:
        """A weight, kept in two bytes a number and used in float32.

        It stays in four bytes where bfloat16 does not hold it exactly. The checkpoint of `mini` is
        in bfloat16. One that is used again is kept once.

        Args:
            turned: keep the transpose (in, out) of PyTorch's (out, in), as ONNX multiplies.
        """
        key = (tensor.data_ptr(), tensor.shape)
        if key not in self._weights:
            values = tensor.detach().T if turned else tensor.detach()
            # With the tensor itself, so that no other one can get its address.
            self._weights[key] = (tensor, self._kept(values.contiguous()))
        return self._weights[key][1]

    def _kept(self, values: Tensor) -> str:
        halves = values.to(torch.bfloat16)
        if not torch.equal(halves.float(), values.float()):
            return self.floats(values)
        name = f"c{len(self.constants)}"
        raw = halves.view(torch.int16).numpy().tobytes()
        kept = helper.make_tensor(name, TensorProto.BFLOAT16, values.shape, raw, raw=True)
        self.constants.append(kept)
        return self.op("Cast", name, to=TensorProto.FLOAT)

    def product(self, x: str, weight: Tensor) -> str:
        """x · weightᵀ, for a weight (out, in) as PyTorch has it."""
        return self.op("MatMul", x, self.weight(weight, turned=True))

    def linear(self, x: str, layer: nn.Linear, scale: Tensor | None = None) -> str:
        """A linear layer, and a factor (out,) on its result where one is given."""
        x = self.op("Add", self.product(x, layer.weight), self.floats(layer.bias))
        return x if scale is None else self.op("Mul", x, self.floats(scale))

    def gelu(self, x: str, layer: nn.Linear) -> str:
        """A linear layer, then the exact (erf) GELU."""
        return self.op("BiasGelu", self.product(x, layer.weight), self.floats(layer.bias))

    def slice(self, x: str, start: int, end: int, axis: int) -> str:
        """x[start:end] along one axis."""
        return self.op("Slice", x, self.whole(start), self.whole(end), self.whole(axis))

    def model(
        self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """The finished graph. The same calls give the same bytes."""
        graph = helper.make_graph(self.nodes, "policy", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


_FUSED = ("Attention", "BiasGelu", "MultiHeadAttention", "RotaryEmbedding")
