"""One folder an episode, written as it happens, so that whatever stops a run leaves valid files that say "incomplete"."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import imageio.v2 as imageio
from PIL import Image

from vla_tutorial.errors import TutorialError
from vla_tutorial.files import check_writable, write_atomically
from vla_tutorial.log import closing_steps, log_of, step_line
from vla_tutorial.loop import Step, rollout
from vla_tutorial.pixels import orient
from vla_tutorial.policies.base import Policy
from vla_tutorial.provenance import versions
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.wiring import PINNED_MUJOCO, Wiring

FORMAT = 2
"""Version of the episode folder's format. 2 adds `img_channels` and `img_sharpness` to each step; what format 1 had is unchanged."""

CONTROL_HZ = 20
"""LIBERO's control frequency, which is also the video's frame rate."""


@dataclass(frozen=True)
class Result:
    """How an episode ended.

    Attributes:
        success: True, False, or None when it was stopped before its end.
        steps: control steps taken.
        seconds: wall time of the episode without building the simulator.
        first_close: step of the first closing gripper command, or None.
        closes: how often the gripper command changed to close.
    """

    success: bool | None
    steps: int
    seconds: float
    first_close: int | None
    closes: int = 0

    @property
    def outcome(self) -> str:
        """In one word: success, failure or incomplete."""
        words = {True: "success", False: "failure", None: "incomplete"}
        return words[self.success]

    @property
    def gripper_story(self) -> str:
        """When the gripper first closed."""
        if self.first_close is None:
            return "the gripper never closed"
        return f"the gripper first closed at step {self.first_close}"

    def sentence(self) -> str:
        """How the episode ended, for example "Success after 126 steps; the gripper never closed."."""
        return f"{self.outcome.capitalize()} after {self.steps} steps; {self.gripper_story}."


def check_folder(folder: Path, overwrite: bool = False) -> None:
    """Raise a TutorialError if an episode cannot be written to `folder`; writes nothing."""
    if (folder / "episode.json").exists() and not overwrite:
        raise TutorialError(
            f"{folder} already holds an episode. Choose another folder, or pass --overwrite to replace it."
        )
    check_writable(folder)


class Recorder:
    """Writes one episode's folder: steps.jsonl, episode.json, agentview.png, episode.mp4, gripper.png."""

    def __init__(
        self,
        folder: Path,
        header: dict[str, Any],
        video: bool = True,
        overwrite: bool = False,
        *,
        pictures: bool = True,
    ) -> None:
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
        entry = step_line(step)
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
        seconds = round(time.perf_counter() - self._started, 3)
        closes = closing_steps([line["action"][6] for line in self.lines])
        first = int(closes[0]) if len(closes) else None
        return Result(self.success, len(self.lines), seconds, first, len(closes))

    def _write_episode(self) -> None:
        entry = {"format": FORMAT, **asdict(self.result()), **self.header}
        write_atomically(
            self.folder / "episode.json", json.dumps(entry, indent=1, ensure_ascii=False) + "\n"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything, whatever happened: a stopped episode keeps what it has and stays marked incomplete."""
        self._steps.close()
        if self._mp4:
            self._mp4.close()
            part = self.folder / "episode.part.mp4"
            if part.exists():
                part.replace(self.folder / "episode.mp4")
        self._write_episode()
        if self.lines and self.pictures:
            # Not above: importing Matplotlib is most of the time that a simulator's process takes to start.
            from vla_tutorial import plots

            title = _title(self.header, self.result().outcome)
            figure = plots.episode_figure(log_of(self.lines), title=title)
            plots.save(figure, self.folder / "gripper.png")


def _title(header: dict[str, Any], outcome: str) -> str:
    return f"{header['policy']['name']} · {', '.join(header['conditions']) or 'published protocol'} · {outcome}"


def _open_video(path: Path) -> Any:
    """H.264 whose bytes depend on the frames alone (no dates, one thread), small, and seekable in browsers."""
    options = [
        "-crf",
        "23",
        "-g",
        "20",
        "-movflags",
        "+faststart",
        "-threads",
        "1",
        "-fflags",
        "+bitexact",
        "-flags:v",
        "+bitexact",
    ]
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


def header(
    policy: Policy, wiring: Wiring, scene: Scene, conditions: Sequence[str], instruction: str
) -> dict[str, Any]:
    """Everything about an episode that is known before it starts."""
    found = versions()
    return {
        "suite": scene.suite,
        "task": scene.task,
        "init": scene.init,
        "instruction": scene.instruction_for(instruction),
        "conditions": list(conditions),
        "policy": {"name": policy.name, **policy.provenance},
        "wiring": asdict(wiring),
        "perturbation": asdict(scene.perturbation),
        "versions": found,
        "warnings": []
        if found["mujoco"] == PINNED_MUJOCO
        else [f"MuJoCo {found['mujoco']} is not the pinned {PINNED_MUJOCO}"],
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
        folder,
        header(policy, wiring, scene, conditions, simulator.task.instruction),
        video,
        overwrite,
        pictures=pictures,
    ) as recorder:
        done = False
        for step in rollout(policy, simulator, wiring, scene):
            recorder.write(step)
            done = step.done
            on_step(step)
        recorder.finish(done)
    return recorder.result()
