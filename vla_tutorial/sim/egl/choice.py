"""Decide which of EGL's devices renders, from those that exist and what the environment asks for.

EGL and CUDA number GPUs each in an order of its own, and CUDA_VISIBLE_DEVICES changes only CUDA's.
robosuite 1.4 takes the variable's number for EGL's, and stops where it is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vla_tutorial.errors import TutorialError

RENDER_DEVICE = "MUJOCO_EGL_DEVICE_ID"
"""MuJoCo's variable: the number of the device that renders, in EGL's order."""

CUDA_DEVICES = "CUDA_VISIBLE_DEVICES"
"""CUDA's variable: the GPUs that a process may compute on, in the order of its cuda:0, cuda:1 …"""

_GPU_NAME = re.compile(r"\d+|GPU-[\da-f-]+|MIG-[\da-z/-]+", re.IGNORECASE)
"""An entry of CUDA_VISIBLE_DEVICES: an index, a GPU's UUID or its beginning, a MIG instance."""

_MIG_OF_GPU = re.compile(r"MIG-(GPU-[\da-f-]+)", re.IGNORECASE)
"""Names of MIG instances before driver 470 hold their GPU's UUID: MIG-GPU-<UUID>/1/0."""


@dataclass(frozen=True)
class EglDevice:
    """One of EGL's devices.

    Attributes:
        index: its number in EGL's order, which MUJOCO_EGL_DEVICE_ID takes.
        name: for people, for example "NVIDIA H100 80GB HBM3".
        software: whether the CPU renders (Mesa's llvmpipe).
        uuid: the GPU's UUID as `nvidia-smi -L` prints it, "GPU-8932f937-…"; "" where the driver
            tells none.
        cuda: CUDA's number of the GPU by EGL_NV_device_cuda; None where the driver tells none.
    """

    index: int
    name: str
    software: bool = False
    uuid: str = ""
    cuda: int | None = None

    def __str__(self) -> str:
        """Its number and name, and the UUID where it has one."""
        identity = f" ({self.uuid})" if self.uuid else ""
        return f"{self.index} {self.name}{identity}"


@dataclass(frozen=True)
class EglChoice:
    """The device that renders, why it does, and what is doubtful about that ("" for nothing)."""

    device: EglDevice
    reason: str
    doubt: str = ""


CudaGpus = Callable[[], Sequence[frozenset[str]] | None]
"""UUIDs of each GPU that CUDA shows this process, cuda:0 first; None where CUDA cannot say."""


def choose(
    devices: Sequence[EglDevice],
    environment: Mapping[str, str],
    works: Callable[[EglDevice], bool],
    cuda_gpus: CudaGpus,
) -> EglChoice:
    """Decide which device renders.

    MUJOCO_EGL_DEVICE_ID decides where it is set. Otherwise it is the GPU that CUDA calls 0 here, so
    that pictures and policy share it; where that is unknown, the first GPU in EGL's order. Values
    of CUDA_VISIBLE_DEVICES that hide every GPU ("", "-1") hide them from CUDA, not from EGL. If the
    variable names a GPU that cannot render, the CPU does rather than somebody else's GPU.

    Args:
        devices: all of EGL's devices, in EGL's order.
        environment: for example `os.environ`.
        works: whether a device can be initialised. It is asked of as few as possible.
        cuda_gpus: asked only where there is more than one GPU.

    Raises:
        TutorialError: MUJOCO_EGL_DEVICE_ID names no device that works, or none works at all.
    """
    asked = environment.get(RENDER_DEVICE, "").strip()
    if asked and devices:
        return EglChoice(_asked(asked, devices, works), f"{RENDER_DEVICE}={asked}")
    visible = environment.get(CUDA_DEVICES)
    named = None if visible is None else named_gpus(visible)
    gpus = [device for device in devices if not device.software]
    own = _shown_by_cuda(gpus, named, cuda_gpus)
    order = _order(devices, own, bool(named))
    device = next((one for one in order if works(one)), None)
    if device is None:
        raise _nothing_renders(devices)
    about = "" if visible is None else f"{CUDA_DEVICES}={visible}"
    reason = _reason(device, own, about)
    doubt = _doubt(device, gpus, own, named, about)
    return EglChoice(device, reason, doubt)


def named_gpus(visible: str) -> tuple[str, ...]:
    """The GPUs that a value of CUDA_VISIBLE_DEVICES names, in its order.

    As CUDA reads it, the first entry that can name none (−1, "NoDevFiles") ends the list.
    """
    names = []
    for entry in visible.split(","):
        if not _GPU_NAME.fullmatch(entry.strip()):
            break
        names.append(entry.strip())
    return tuple(names)


def _asked(
    asked: str, devices: Sequence[EglDevice], works: Callable[[EglDevice], bool]
) -> EglDevice:
    listed = "; ".join(map(str, devices)) or "none"
    known = {str(device.index): device for device in devices}
    device = known.get(asked.lstrip("0") or "0")
    if device is None:
        raise TutorialError(
            f"{RENDER_DEVICE} is {asked!r}; expected the number of an EGL device. There are: "
            f"{listed}. Unset it or choose one of these."
        )
    if not works(device):
        raise TutorialError(
            f"{RENDER_DEVICE}={asked} asks for a device that cannot be initialised. There are: "
            f"{listed}. Unset it or choose another one."
        )
    return device


def _shown_by_cuda(
    gpus: Sequence[EglDevice], named: Sequence[str] | None, cuda_gpus: CudaGpus
) -> list[EglDevice] | None:
    """EGL's devices of the GPUs that CUDA shows, in CUDA's order; None where nothing tells them.

    `named` are the GPUs of CUDA_VISIBLE_DEVICES; None where it is not set.
    """
    if named == ():
        return None
    if any(gpu.uuid for gpu in gpus):
        shown = cuda_gpus() if len(gpus) > 1 else None
        if shown == []:
            return None
        if shown and all(shown):
            return [gpu for uuids in shown for gpu in gpus if gpu.uuid in uuids]
    elif any(gpu.cuda is not None for gpu in gpus):
        return _by_cuda_number(gpus, named)
    return _by_name(gpus, named or ()) or None


def _by_cuda_number(gpus: Sequence[EglDevice], named: Sequence[str] | None) -> list[EglDevice]:
    """The same by EGL_NV_device_cuda's numbers, for drivers that tell no UUID."""
    known = {gpu.cuda: gpu for gpu in gpus if gpu.cuda is not None}
    if named and len(known) > len(named):
        # More numbers than GPUs shown: they count all GPUs of the machine, as the variable does.
        numbers = [int(name) for name in named if name.isdigit()]
    else:
        numbers = sorted(known)
    return [known[number] for number in numbers if number in known]


def _by_name(gpus: Sequence[EglDevice], named: Sequence[str]) -> list[EglDevice]:
    """The same from names alone; without UUIDs, EGL's order is taken for CUDA's."""
    found: list[EglDevice] = []
    for name in named:
        device = next((gpu for gpu in gpus if _is_named(gpu, gpus, name)), None)
        if device is None:
            break
        found.append(device)
    return found


def _is_named(gpu: EglDevice, gpus: Sequence[EglDevice], name: str) -> bool:
    """Whether `name`, an entry of CUDA_VISIBLE_DEVICES, means this one of EGL's GPUs."""
    if name.isdigit():
        return gpus.index(gpu) == int(name)
    mig = _MIG_OF_GPU.match(name)
    uuid = mig[1] if mig else name
    return gpu.uuid.lower().startswith(uuid.lower())


def _order(
    devices: Sequence[EglDevice], own: Sequence[EglDevice] | None, restricted: bool
) -> list[EglDevice]:
    """Every device, the best one first; `restricted` if CUDA_VISIBLE_DEVICES names GPUs."""
    # Several MIG instances may be of one GPU.
    first = list(dict.fromkeys(own or ()))
    rest = [device for device in devices if device not in first]
    software_first = own is not None and restricted
    return first + sorted(rest, key=lambda device: device.software != software_first)


def _reason(device: EglDevice, own: Sequence[EglDevice] | None, about: str) -> str:
    if own and device in own:
        with_it = f" with {about}" if about else ""
        return f"CUDA's GPU {own.index(device)}{with_it}"
    if device.software:
        return "no GPU can render"
    whatever = f", whatever {about} says" if about else ""
    return f"the first GPU in EGL's order{whatever}"


def _doubt(
    device: EglDevice,
    gpus: Sequence[EglDevice],
    own: Sequence[EglDevice] | None,
    named: Sequence[str] | None,
    about: str,
) -> str:
    if own is not None and device not in own:
        return f"The GPU of {about or 'CUDA'} cannot render (as a MIG instance cannot)."
    if device.software and gpus:
        return "None of the GPUs can be initialised for rendering."
    if named and own is None and gpus:
        return f"{about} names none of EGL's devices."
    return ""


def _nothing_renders(devices: Sequence[EglDevice]) -> TutorialError:
    listed = "; ".join(map(str, devices)) or "none"
    return TutorialError(
        f"Cannot render: no EGL device can be initialised (there are: {listed}). On Debian or "
        "Ubuntu: apt-get install libgl1-mesa-dri. In a container with an NVIDIA GPU: set "
        "NVIDIA_DRIVER_CAPABILITIES=all."
    )
