"""An optimiser step as one CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

log = logging.getLogger(__name__)

Work = Callable[[Tensor], Mapping[str, Tensor]]
"""A step: chosen samples (N,) int64 → what to log, scalars. It must not ask the GPU anything."""


class CapturedStep:
    """A graph with its fixed input and outputs; call it as the step that was captured."""

    def __init__(self, replay: Callable[[], None], chosen: Tensor, logged: Mapping[str, Tensor]):
        """`replay` runs the graph, which reads `chosen` (N,) int64 and writes `logged`."""
        self._replay = replay
        self._chosen = chosen
        self._logged = logged

    def __call__(self, chosen: Tensor) -> dict[str, Tensor]:
        """Run the step on `chosen` (N,) int64; the next call overwrites what it returns."""
        self._chosen.copy_(chosen, non_blocking=True)
        self._replay()
        return dict(self._logged)


def capture_step(work: Work, chosen: Tensor, side: torch.cuda.Stream) -> CapturedStep | None:
    """Capture `work` and run it once more to see that it can.

    Args:
        work: the step. It runs twice here, and learns.
        chosen: (N,) int64 on the GPU, samples to run it with.
        side: the stream on which `work` has run before, and nowhere else: gradients are added up
            on the stream of a step's first run, and a capture cannot wait for another stream.
            It ran twice at least, so that everything is compiled.

    Returns:
        None with a warning where PyTorch cannot capture it; the step then runs as it is, slower.
    """
    fixed = chosen.clone()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.device(chosen.device):
            side.synchronize()
            # Another thread serves the simulators meanwhile.
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                logged = work(fixed)
            graph.replay()
            torch.cuda.synchronize()
    except RuntimeError as e:
        log.warning("A step could not be captured as a CUDA graph, and is slower without: %s", e)
        log.debug("Where the capture failed:", exc_info=True)
        _release_generator(chosen.device)
        return None
    return CapturedStep(graph.replay, fixed, logged)


def _release_generator(device: torch.device) -> None:
    """Let the GPU's generator draw again: a capture that failed still holds its state."""
    index = torch.cuda.current_device() if device.index is None else device.index
    fresh = torch.Generator(device)
    generator = torch.cuda.default_generators[index]
    fresh.manual_seed(generator.initial_seed())
    generator.graphsafe_set_state(fresh.graphsafe_get_state())
