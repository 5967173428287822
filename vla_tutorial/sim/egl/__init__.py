"""Which of EGL's devices renders: `choice` decides, and `driver` asks the machine."""

from vla_tutorial.sim.egl.choice import CUDA_DEVICES, RENDER_DEVICE, EglChoice, EglDevice, choose

__all__ = ["CUDA_DEVICES", "RENDER_DEVICE", "EglChoice", "EglDevice", "choose"]
