"""One folder an episode, written as it happens: a run that is stopped leaves valid files."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from PIL import Image

from vla_tutorial.errors import TutorialError
from vla_tutorial.files import (
    append_whole,
    check_writable,
    explain_full_disk,
    interruptible,
    uninterrupted,
    whole_file,
    write_atomically,
    write_in_place,
)
from vla_tutorial.log import closing_steps, log_of, step_line
from vla_tutorial.loop import Step, rollout
from vla_tutorial.pixels import orient
from vla_tutorial.policies.base import Policy, check_applies
from vla_tutorial.prompt import Prompt
from vla_tutorial.provenance import versions
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator, own_instruction
from vla_tutorial.video import Video
from vla_tutorial.wiring import PINNED_MUJOCO, Wiring

EPISODE_FORMAT = 2
"""Version of the episode folder. 2 adds `img_channels` and `img_sharpness` to each step of 1."""

EPISODE_FILES = (
    "episode.json",
    "steps.jsonl",
    "camera.png",
    "agentview.png",
    "episode.mp4",
    "gripper.png",
)

AFTER_FULL_DISK = (
    "What fitted is kept and marked incomplete. Make room, and run it again with --overwrite."
)


@dataclass(frozen=True)
class Result:
    """How an episode ended."""

    success: bool | None  # None when it was stopped before its end
    steps: int  # control steps taken
    seconds: float  # wall time of the episode without building the simulator
    first_close: int | None  # step of the first closing gripper command
    closes: int = 0  # how often the gripper command changed to close

    @property
    def outcome(self) -> str:
        """In one word: success, failure or incomplete."""
        return {True: "success", False: "failure", None: "incomplete"}[self.success]

    def sentence(self) -> str:
        """For example "Success after 126 steps; the gripper first closed at step 59."."""
        closed = "never closed"
        if self.first_close is not None:
            closed = f"first closed at step {self.first_close}"
        return f"{self.outcome.capitalize()} after {self.steps} steps; the gripper {closed}."


def check_folder(folder: Path, overwrite: bool = False) -> None:
    """Raise a TutorialError if an episode cannot be written to `folder`; writes nothing."""
    if (folder / "episode.json").exists() and not overwrite:
        remedy = "Choose another folder, or pass --overwrite to replace it."
        raise TutorialError(f"{folder} already holds an episode. {remedy}")
    check_writable(folder)


class Recorder:
    """Writes one episode's folder: `EPISODE_FILES`. Set `success` when it ends."""

    def __init__(
        self,
        folder: Path,
        header: dict[str, Any],
        video: bool = True,
        overwrite: bool = False,
        *,
        pictures: bool = True,
    ) -> None:
        """Create the folder and a valid, incomplete `episode.json`. Raises as `check_folder` does.

        Args:
            header: what `episode.json` says beside the outcome.
            video, pictures: write episode.mp4, and agentview.png (the first picture that the policy
                saw), camera.png (that picture as the simulator gave it) and gripper.png, as well.
        """
        check_folder(folder, overwrite)
        self.folder = folder
        self.header = header
        self.pictures = pictures
        self.lines: list[dict[str, Any]] = []
        self.success: bool | None = None
        self._started = time.perf_counter()
        self._video = Video(folder / "episode.mp4") if video else None
        with explain_full_disk(folder, AFTER_FULL_DISK):
            folder.mkdir(parents=True, exist_ok=True)
            # Before the old files go: if this is killed among them, the folder says "incomplete".
            self._write_episode()
            for path in map(folder.joinpath, EPISODE_FILES[1:]):
                path.unlink(missing_ok=True)
            append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._steps = os.open(folder / "steps.jsonl", append, 0o644)

    def write(self, step: Step) -> None:
        """Append one step; it is on its way to the disk when this returns.

        Raises:
            DiskFull: it did not fit. The steps before it are whole.
            TutorialError: there is no encoder for the video, or it has ended.
        """
        line = step_line(step)
        with explain_full_disk(self.folder, AFTER_FULL_DISK):
            append_whole(self._steps, (json.dumps(line) + "\n").encode())
            self.lines.append(line)
            if step.step == 0 and self.pictures:
                pictures = {"agentview": step.pixels, "camera": step.observation.image}
                for name, picture in pictures.items():
                    with whole_file(self.folder / f"{name}.png") as part:
                        Image.fromarray(picture).save(part)
            if self._video:
                self._video.append(orient(step.observation.image, "rotate_180"))

    def result(self) -> Result:
        """The outcome so far."""
        seconds = round(time.perf_counter() - self._started, 3)
        closes = closing_steps([line["action"][6] for line in self.lines]).tolist()
        first_close = closes[0] if closes else None
        return Result(self.success, len(self.lines), seconds, first_close, len(closes))

    def _write_episode(self) -> None:
        entry = {"format": EPISODE_FORMAT, **asdict(self.result()), **self.header}
        text = json.dumps(entry, indent=1, ensure_ascii=False) + "\n"
        path = self.folder / "episode.json"
        try:
            write_atomically(path, text)
        except OSError:
            # A full disk still has the room that the first version of the file takes.
            if not path.exists():
                raise
            write_in_place(path, text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Close everything. A stopped episode keeps what it has and stays marked incomplete.

        Raises:
            DiskFull: the end does not fit. What does not fit is left out, the rest is whole.
        """
        with (
            uninterrupted(),
            explain_full_disk(self.folder, AFTER_FULL_DISK),
            contextlib.ExitStack() as ending,
        ):
            # Run from the last to the first, each of them even if one before it has failed.
            if self.lines and self.pictures and not isinstance(error, OSError | TutorialError):
                ending.callback(self._draw)
            # After the video: where the disk is full, the end of that has made room.
            ending.callback(self._write_episode)
            if self._video:
                ending.callback(self._video.close)
            ending.callback(os.close, self._steps)

    def _draw(self) -> None:
        # Importing Matplotlib is most of the time that a simulator's process takes to start.
        from vla_tutorial import plots

        conditions = ", ".join(self.header["conditions"]) or "published settings"
        title = f"{self.header['policy']['name']} · {conditions} · {self.result().outcome}"
        figure = plots.episode_figure(log_of(self.lines), title=title)
        with whole_file(self.folder / "gripper.png") as part:
            plots.save(figure, part)


def header(
    policy: Policy, wiring: Wiring, scene: Scene, conditions: Sequence[str], instruction: str
) -> dict[str, Any]:
    """What is known of an episode before it starts.

    It has target, layout_seed and own_scene, with the hashes of its files, where they are set.
    """
    found = versions()
    warning = f"MuJoCo {found['mujoco']} is not the pinned {PINNED_MUJOCO}"
    optional: dict[str, Any] = {"target": scene.target, "layout_seed": scene.layout_seed}
    if scene.own is not None:
        optional["own_scene"] = scene.own.entry()
    return {
        "suite": scene.suite,
        "task": scene.task,
        "init": scene.init,
        **{name: value for name, value in optional.items() if value is not None},
        "instruction": scene.instruction_for(instruction),
        "conditions": list(conditions),
        "policy": {"name": policy.name, **policy.provenance},
        "wiring": asdict(wiring),
        "perturbation": asdict(scene.perturbation),
        "versions": found,
        "warnings": [warning] if found["mujoco"] != PINNED_MUJOCO else [],
    }


def prompt_entry(policy: Policy, prompt: Prompt | None) -> dict[str, Any] | None:
    """What the policy was asked, for the record: text, empty_token, and ids where it has some."""
    if prompt is None:
        return None
    entry: dict[str, Any] = asdict(prompt)
    ids = getattr(policy, "ids", None)
    if ids is not None:
        entry["ids"] = ids(prompt)
    return entry


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
        conditions: names of the conditions that made `wiring` and `scene`; recorded, not applied.
        video, pictures, overwrite: as `Recorder` takes them.
        on_step: called after each step is recorded, for progress and live views.

    Raises:
        TutorialError: the folder cannot take an episode, or a condition does not apply.
        KeyboardInterrupt: passes after the partial episode is kept.
    """
    check_applies(policy, conditions)
    about = header(policy, wiring, scene, conditions, own_instruction(simulator, scene))
    # A step is made and then written as a whole: only while it is made, a signal acts.
    with (
        uninterrupted(),
        Recorder(folder, about, video, overwrite, pictures=pictures) as recorder,
    ):
        done = False
        for step in interruptible(rollout(policy, simulator, wiring, scene)):
            if step.step == 0:
                recorder.header["prompt"] = prompt_entry(policy, step.prompt)
            recorder.write(step)
            done = step.done
            on_step(step)
        recorder.success = done
    return recorder.result()
