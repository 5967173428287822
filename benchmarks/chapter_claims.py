"""Statements of §2.4 that a laptop can check: action scales, saved initial states, friction, `info`, records, MuJoCo's floor.

    python -m pip install --no-deps --target /tmp/mujoco-3.3.3 mujoco==3.3.3
    python benchmarks/chapter_claims.py --other-mujoco /tmp/mujoco-3.3.3 --out results/chapter_claims.json     (about 10 minutes on one core)

Each section of the result is one check; `--only` runs some of them and keeps what the file holds of the others. The only policies here are
the scripted expert, and `mini` in its recorded clips; no published checkpoint is run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.progress import track

from vla_tutorial.actions import (
    BIN_CENTERS,
    bin_tokens,
    decode,
    embedded_statistics,
    to_libero,
)
from vla_tutorial.files import write_atomically
from vla_tutorial.loop import rollout
from vla_tutorial.player.clips import read_clip_script
from vla_tutorial.policies import load_policy
from vla_tutorial.provenance import versions
from vla_tutorial.record import record_episode
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.protocol import check_task, initial_states, step_limit
from vla_tutorial.wiring import Wiring

SUITE = "libero_object"
FLOOR = np.s_[16:32, 192:208]
"""A patch of bare floor in task 0, initial state 0; rows as MuJoCo gives them."""

CLIPS = Path(__file__).parents[1] / "book" / "clips"
CHATTER = 10
"""Changes of the gripper's command in an episode above which it is said to chatter; a success has two to four."""


def unnorm_key(_: argparse.Namespace) -> dict:
    """How much smaller a motion becomes when Bridge's statistics replace LIBERO's, axis by axis."""
    libero, bridge = (embedded_statistics()[k] for k in (SUITE, "bridge_orig"))
    ratio = (bridge.q99 - bridge.q01)[:6] / (libero.q99 - libero.q01)[:6]
    return {
        "bridge_over_libero": dict(
            zip(("x", "y", "z", "rx", "ry", "rz"), ratio.round(4).tolist(), strict=True)
        )
    }


def saved_states(_: argparse.Namespace) -> dict:
    """How far the target's place and the arm's joints differ among the 50 saved initial states of each task."""
    rows = []
    for task in track(range(10), "saved states"):
        with Simulator(SUITE, task, render=False) as simulator:
            body = simulator.bodies[simulator.targets[0]]
            start = 1 + simulator.model.jnt_qposadr[simulator.model.body_jntadr[body]]
            states = initial_states(SUITE, task)
        target = np.ptp(states[:, start : start + 2], axis=0)
        arm = np.ptp(states[:, 1:8], axis=0)
        rows.append(
            {
                "task": task,
                "target_spread_mm": round(1000 * float(target.max()), 3),
                "arm_spread_rad": round(float(arm.max()), 4),
            }
        )
    same = [r["task"] for r in rows if r["target_spread_mm"] < 0.001]
    most = max(r["target_spread_mm"] for r in rows)
    return {
        "states": 50,
        "target_identical_tasks": len(same),
        "identical": same,
        "largest_spread_mm": most,
        "rows": rows,
    }


def physics(_: argparse.Namespace) -> dict:
    """Whether friction changes from reset to reset, whether the same actions give the same states, and what `info` holds."""
    with Simulator(SUITE, 0, render=False) as simulator:
        friction = simulator.model.geom_friction.copy()
        changed = 0.0
        for init in range(50):
            simulator.reset(init)
            changed = max(changed, float(np.abs(simulator.model.geom_friction - friction).max()))
        actions = np.random.default_rng(0).uniform(-1, 1, (100, 7))
        ends, keys = [], set()
        for _repeat in range(2):
            simulator.reset(0)
            for action in actions:
                keys |= set(simulator._inner.step(action)[3])
            ends.append(simulator.state())
    replay = float(np.abs(ends[0] - ends[1]).max())
    return {
        "friction_change": changed,
        "replay_difference": replay,
        "replay_steps": len(actions),
        "info_keys": sorted(keys),
    }


def libero_10(_: argparse.Namespace) -> dict:
    """What task 2 of libero_10 asks for, and task 0 of libero_object."""
    first = check_task(SUITE, 0).instruction
    return {
        "task": 2,
        "instruction": check_task("libero_10", 2).instruction,
        "step_limit": step_limit("libero_10"),
        "libero_object_0": first,
    }


def records(_: argparse.Namespace) -> dict:
    """Size of one recorded episode's steps.jsonl."""
    with tempfile.TemporaryDirectory() as folder, Simulator(SUITE, 0, render=False) as simulator:
        result = record_episode(
            load_policy("expert"),
            simulator,
            Wiring(unnorm_key=SUITE),
            Scene(SUITE, 0, 0),
            Path(folder),
            video=False,
        )
        size = (Path(folder) / "steps.jsonl").stat().st_size
    return {
        "steps": result.steps,
        "kilobytes": round(size / 1000, 1),
        "bytes_per_step": round(size / result.steps),
    }


def published_steps(_: argparse.Namespace) -> dict:
    """What a run that works logs: size of the commands and of the motion, the gripper's first command, reward and `done`; the expert, ten tasks."""
    policy = load_policy("expert")
    wiring = Wiring(unnorm_key=SUITE)
    commands = []
    moved = []
    rewards = set()
    first = set()
    ends = []
    steps = []
    for task in track(range(10), "published steps"):
        with Simulator(SUITE, task, render=False) as simulator:
            episode = list(rollout(policy, simulator, wiring, Scene(SUITE, task, 0)))
        commands += [s.action[:3] for s in episode]
        motion = np.diff([s.observation.eef_pos for s in episode], axis=0)
        moved += list(np.linalg.norm(motion, axis=1))
        rewards |= {s.reward for s in episode}
        first.add(next(s.step for s in episode if s.action[6]))
        ends.append([s.step for s in episode if s.done] == [len(episode) - 1])
        steps.append(len(episode))
    return {
        "steps": len(commands),
        "over_tenth": int((np.abs(commands).max(axis=1) > 0.1).sum()),
        "median_mm_a_step": round(1000 * float(np.median(moved)), 1),
        "largest_mm_a_step": round(1000 * float(np.max(moved)), 1),
        "first_nonzero_gripper_command": sorted(first),
        "rewards": sorted(rewards),
        "done_at_the_last_step_alone": all(ends),
        "episodes": len(steps),
        "longest": max(steps),
    }


def middle_bins(_: argparse.Namespace) -> dict:
    """Where the hand goes when every token is the middle bin, number 128, for a whole episode."""
    tokens = bin_tokens([128] * 7)
    action = to_libero(decode(tokens, embedded_statistics()[SUITE]), "binarised")
    with Simulator(SUITE, 0, render=False) as simulator:
        start = simulator.reset(0).eef_pos
        path = np.array(
            [simulator.step(action)[0].eef_pos - start for _ in range(step_limit(SUITE))]
        )
    names = ("x", "y", "z", "rx", "ry", "rz", "gripper")
    moved = np.round(100 * path, 1)
    return {
        "action": dict(zip(names, action.round(3).tolist(), strict=True)),
        "cm_after_100_steps": moved[99].tolist(),
        "cm_at_the_end": moved[-1].tolist(),
        "steps": len(path),
    }


def full_speed(_: argparse.Namespace) -> dict:
    """How far the hand gets at most in a control step at full command along x, and how far it starts from each target."""
    forward = np.array([1.0, 0, 0, 0, 0, 0, -1])
    with Simulator(SUITE, 0, render=False) as simulator:
        path = [simulator.reset(0).eef_pos[0]]
        path += [simulator.step(forward)[0].eef_pos[0] for _ in range(24)]
    distances = []
    for task in track(range(10), "full speed"):
        with Simulator(SUITE, task, render=False) as simulator:
            hand = simulator.reset(0).eef_pos
            target = simulator.data.xpos[simulator.bodies[simulator.targets[0]]]
            distances.append(round(100 * float(np.linalg.norm(target - hand)), 1))
    steps = 1000 * np.diff(path)
    return {
        "mm_a_step": round(float(steps.max()), 1),
        "rows": steps.round(2).tolist(),
        "cm_to_the_target": distances,
    }


def gripper_bins(_: argparse.Namespace) -> dict:
    """Where the gripper's bin lies in the recorded clips of `mini` that chatter: at the threshold of 0.5, or jumping across it."""
    threshold = int(np.searchsorted(BIN_CENTERS, 0.5))
    clips = changes = steps = near = 0
    for path in sorted(CLIPS.glob("*/*/episode.js")):
        series = read_clip_script(path)["series"]
        tokens = np.frombuffer(bytes.fromhex(series["tokens"]), np.uint8).reshape(-1, 7)
        bins = 255 - tokens[:, 6].astype(int)
        flips = int(np.count_nonzero(np.diff(np.sign(series["gripper"]))))
        if flips > CHATTER:
            clips += 1
            changes += flips
            steps += len(bins)
            near += int(np.count_nonzero(np.abs(bins - threshold) <= 16))
    return {
        "threshold_bin": threshold,
        "clips": clips,
        "changes": changes,
        "steps": steps,
        "within_16_bins": near,
    }


def fixed_scene(_: argparse.Namespace) -> dict:
    """Whether lamps and camera differ between resets or tasks, and how near the basket a target ever stands."""
    scenes, nearest, changed = [], [], 0.0
    for task in track(range(10), "fixed scene"):
        with Simulator(SUITE, task, render=False) as simulator:
            model, data = simulator.model, simulator.data
            before = _lamps_and_camera(model)
            for init in range(len(initial_states(SUITE, task))):
                simulator.reset(init, settle_steps=0)
                changed = max(changed, float(np.abs(_lamps_and_camera(model) - before).max()))
                target, basket = (
                    data.xpos[simulator.bodies[name]] for name in (simulator.targets[0], "basket_1")
                )
                nearest.append(float(np.linalg.norm((target - basket)[:2])))
            inner = float(model.site("basket_1_contain_region").size[:2].max())
        scenes.append(before)
    between = max(float(np.abs(s - scenes[0]).max()) for s in scenes)
    return {
        "change_over_resets": changed,
        "change_over_tasks": between,
        "starts": len(nearest),
        "nearest_target_cm": round(100 * min(nearest), 1),
        "basket_reach_cm": round(100 * inner, 1),
    }


def _lamps_and_camera(model) -> np.ndarray:
    camera = model.camera("agentview").id
    parts = [
        model.light_pos,
        model.light_dir,
        model.light_ambient,
        model.light_diffuse,
        model.light_specular,
        model.cam_pos[camera],
        model.cam_quat[camera],
        model.cam_fovy[camera],
    ]
    return np.concatenate([part.ravel() for part in parts])


def floor(args: argparse.Namespace) -> dict:
    """The same frame under the pinned MuJoCo and under a later one."""
    frames = [_frame_under(None)]
    if args.other_mujoco:
        frames.append(_frame_under(args.other_mujoco))
    return {"frames": frames}


def _frame_under(folder: Path | None) -> dict:
    path = os.environ.get("PYTHONPATH", "")
    if folder:
        path = os.pathsep.join([str(folder), path])
    done = subprocess.run(
        [sys.executable, __file__, "--frame"],
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def frame() -> dict:
    import mujoco

    with Simulator(SUITE, 0) as simulator:
        image = simulator.reset(0).image
    return {
        "mujoco": mujoco.__version__,
        "image_mean": round(float(image.mean()), 1),
        "floor_mean": round(float(image[FLOOR].mean()), 1),
    }


CHECKS: dict[str, Callable[[argparse.Namespace], dict]] = {
    f.__name__: f
    for f in (
        unnorm_key,
        libero_10,
        physics,
        records,
        published_steps,
        middle_bins,
        full_speed,
        gripper_bins,
        saved_states,
        fixed_scene,
        floor,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/chapter_claims.json"))
    parser.add_argument(
        "--only",
        nargs="+",
        choices=CHECKS,
        default=list(CHECKS),
        metavar="CHECK",
        help=f"some of {', '.join(CHECKS)}",
    )
    parser.add_argument(
        "--other-mujoco", type=Path, help="folder with another MuJoCo, from pip install --target"
    )
    parser.add_argument(
        "--frame", action="store_true", help="print one frame's brightness and stop"
    )
    args = parser.parse_args()
    if args.frame:
        print(json.dumps(frame()))
        return
    found = json.loads(args.out.read_text()).get("checks", {}) if args.out.exists() else {}
    for name in args.only:
        found[name] = {
            "about": (CHECKS[name].__doc__ or "").strip(),
            "command": f"python {shlex.join(sys.argv)}",
            **CHECKS[name](args),
        }
        head = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
            "versions": versions(),
        }
        about = "Statements of §2.4 checked on a laptop; no published checkpoint was run."
        ordered = {k: found[k] for k in CHECKS if k in found}
        commands = "\n".join(dict.fromkeys(check["command"] for check in ordered.values()))
        result = {"command": commands, "about": about, **head, "checks": ordered}
        write_atomically(args.out, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        print(name, {k: v for k, v in found[name].items() if k not in ("rows", "per_task")})


if __name__ == "__main__":
    main()
