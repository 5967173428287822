"""Where a model runs: PyTorch's device by its name, checked before anything is loaded."""

from __future__ import annotations

import os
import re

import torch

from vla_tutorial.errors import TutorialError

BFLOAT16_SINCE = 8
"""Compute capability of Ampere, the first generation with bfloat16."""

FP8_SINCE = (8, 9)
"""Compute capability of Ada, the first generation that multiplies numbers of 8-bit floats."""

_NAMES = re.compile(r"cpu|mps|cuda(:(0|[1-9]\d{0,3}))?")


def choose_device(asked: str | None) -> str:
    """The name of PyTorch's device that a model runs on.

    An NVIDIA GPU runs the fast path: this package's Triton kernels and CUDA graphs. The CPU runs
    small models through oneDNN. An Apple GPU ("mps") runs plain PyTorch, without either.

    Args:
        asked: "cpu", "cuda", "cuda:N" or, where PyTorch has it, "mps". None: the first CUDA GPU,
            else the CPU.

    Raises:
        TutorialError: another name, no such device, or one that PyTorch cannot compute on.
    """
    if asked is None:
        return _checked("cuda") if torch.cuda.is_available() else "cpu"
    if not _NAMES.fullmatch(asked):
        raise TutorialError(f"Unknown device {asked!r}; expected {_expected()}.")
    if asked.startswith("cuda"):
        _check_cuda(asked)
    if asked == "mps" and not torch.backends.mps.is_available():
        raise TutorialError(
            f"Device 'mps' was asked for, but PyTorch {torch.__version__} finds no Apple GPU; "
            f"expected {_expected()}."
        )
    return asked if asked == "cpu" else _checked(asked)


def default_dtype(device: str) -> torch.dtype:
    """The type of the weights: bfloat16 on CUDA, float16 on an Apple GPU, float32 on the CPU.

    NVIDIA GPUs before Ampere, such as Colab's T4, have no bfloat16 and take float16. PyTorch
    emulates bfloat16 there, many times slower. Apple's GPUs have bfloat16 from macOS 14 on only.
    """
    if device == "mps":
        return torch.float16
    if not device.startswith("cuda"):
        return torch.float32
    major, _ = torch.cuda.get_device_capability(device)
    return torch.bfloat16 if major >= BFLOAT16_SINCE else torch.float16


def lacks_fp8(device: str) -> str | None:
    """Why a device that PyTorch has cannot compute with fp8 weights; None where it can.

    A CPU can, as an exact and slow reference.
    """
    if device.startswith("cpu"):
        return None
    if not device.startswith("cuda"):
        return "An Apple GPU has no numbers of 8-bit floats"
    capability = torch.cuda.get_device_capability(device)
    if capability >= FP8_SINCE:
        return None
    major, minor = capability
    return (
        f"{torch.cuda.get_device_name(device)} ({device}) has compute capability {major}.{minor}, "
        "and fp8 needs 8.9 (Ada) or 9.0 (Hopper) and above"
    )


def _expected() -> str:
    if torch.backends.mps.is_available():
        return "cpu, cuda, cuda:N or mps"
    return "cpu, cuda or cuda:N"


def _check_cuda(asked: str) -> None:
    """Refuse a GPU that is not there, with the reason that is known."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(asked.partition(":")[2] or 0)
    if number < count:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if count:
        found = f"finds {count} (cuda:0 … cuda:{count - 1})"
        remedy = "Choose one of these"
    else:
        found = "finds no CUDA GPU"
        remedy = "Use cpu, or repair the driver"
        if torch.version.cuda is None:
            remedy = "Use cpu, or install a PyTorch with CUDA: this one is without"
    if visible is not None:
        remedy += f"; CUDA_VISIBLE_DEVICES={visible!r} hides the others"
    raise TutorialError(
        f"Device {asked!r} was asked for, but PyTorch {torch.__version__} {found}. {remedy}."
    )


def _checked(device: str) -> str:
    """The device, after one sum on it: a GPU may be too old for PyTorch, in use or broken."""
    try:
        torch.ones(2, device=device).sum().item()
    except (RuntimeError, AssertionError) as e:
        reason = next(iter(str(e).splitlines()), type(e).__name__)
        raise TutorialError(
            f"PyTorch {torch.__version__} cannot compute on device {device!r}: {reason} "
            "Use cpu, or repair the driver."
        ) from e
    return device
