"""Diagnosis on made-up logs, each rule from both sides of its threshold, and on small recorded ones whose truth is known."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vla_tutorial import actions
from vla_tutorial.cli.app import app
from vla_tutorial.diagnose import (
    VERDICTS,
    boundaries,
    diagnose,
    diagnose_folder,
    diagnose_sweep,
    load_reference,
)
from vla_tutorial.diagnose import rules as r
from vla_tutorial.diagnose.signatures import TURNS
from vla_tutorial.errors import TutorialError
from vla_tutorial.log import log_of
from vla_tutorial.sim.protocol import STEP_LIMITS

REFERENCE = load_reference()
LIMIT = STEP_LIMITS["libero_object"]
RECORDED = Path(__file__).parents[1] / "data" / "diagnose"
OPEN, CLOSE = 254, 127


def episode(
    steps=60,
    close=40,
    success=True,
    *,
    key="libero_object",
    gripper="binarised",
    scale=1.0,
    bins=None,
    grips=None,
):
    """Lines of an episode that nothing is wrong with: down, close on something, up, done. Keywords make it wrong."""
    motion = (
        np.tile(REFERENCE.first_bins[3].mean(axis=0).round(), (steps, 1))
        if bins is None
        else np.asarray(bins)
    )
    grips = np.where(np.arange(steps) < close, OPEN, CLOSE) if grips is None else np.asarray(grips)
    tokens = (31999 - np.column_stack([motion, grips])).astype(int)
    acts = actions.to_libero(actions.decode(tokens, actions.embedded_statistics()[key]), gripper)
    acts[:, :6] *= scale
    k = np.arange(steps)
    height = np.where(k < close, 0.25 - 0.005 * k, 0.25 - 0.005 * close + 0.005 * (k - close))
    fingers = np.where(k < close + 2, 0.0387, np.where(k < steps - 2, 0.02, 0.0387))
    return [
        {
            "step": int(i),
            "img_mean": 137.1,
            "img_quarters": (REFERENCE.quarters[3] + 0.1 * i).tolist(),
            "img_channels": [143.5, 138.0, 130.1],
            "img_sharpness": 9.3,
            "action": acts[i].round(6).tolist(),
            "reward": float(success and i == steps - 1),
            "tokens": tokens[i].tolist(),
            "eef_pos": [0.005 * int(i), 0.0, float(height[i])],
            "gripper_qpos": [float(fingers[i]), -float(fingers[i])],
        }
        for i in range(steps)
    ]


def verdict(lines, reference=None):
    return diagnose(log_of(lines), reference).verdict


def first(lines, **fields):
    return [{**lines[0], **fields}, *lines[1:]]


def test_clean_success():
    found = diagnose(log_of(episode()))
    assert (found.verdict, found.notes) == ("nothing wrong", ())
    s = found.signatures
    assert (
        s.gripper.first_close,
        s.gripper.closes,
        s.mapping.key,
        s.mapping.gripper,
        s.mapping.scale,
    ) == (
        40,
        1,
        "libero_object",
        "binarised",
        pytest.approx(1),
    )
    assert (s.progress.reached, s.progress.grasped, s.progress.lifted, s.progress.released) == (
        25,
        44,
        55,
        None,
    )
    assert s.response > 0 and s.gripper.undecided == 0


def test_progress_stops_where_the_episode_did():
    grips = np.where((np.arange(60) >= 40) & (np.arange(60) < 57), CLOSE, OPEN)
    assert diagnose(log_of(episode(grips=grips))).signatures.progress.released == 57
    empty = [{**e, "gripper_qpos": [0.0005, -0.0005]} if e["step"] > 43 else e for e in episode()]
    p = diagnose(log_of(empty)).signatures.progress
    assert (p.reached, p.grasped, p.lifted, p.released) == (
        25,
        None,
        None,
        None,
    )  # closed on nothing
    high = [{**e, "eef_pos": [*e["eef_pos"][:2], 0.3]} for e in episode()]
    assert diagnose(log_of(high)).signatures.progress.reached is None


def test_failure_with_everything_right_is_the_policy():
    assert verdict(episode(LIMIT, success=False)) == "policy"
    assert (
        verdict(episode(LIMIT - 1, success=False)) == "nothing wrong"
    )  # it was stopped: no judgement
    assert (
        "came down to the object at step 25"
        in diagnose(log_of(episode(LIMIT, success=False))).evidence[0]
    )


@pytest.mark.parametrize("name", [n for n in TURNS if n != "as published"])
def test_turned_pictures(name):
    lines = episode()
    quarters = [REFERENCE.quarters[3][k] for k in TURNS[name]]
    found = diagnose(log_of(first(lines, img_quarters=quarters)))
    assert (
        found.verdict == "pixels"
        and found.signatures.picture.turned == name
        and name in found.evidence[0]
    )
    dark = diagnose(log_of(first(lines, img_quarters=[q * 0.7 for q in quarters])))
    assert dark.verdict == "pixels" and "simulator" in dark.evidence[1]  # both faults are told


@pytest.mark.parametrize(("off", "expected"), [(-1, "nothing wrong"), (1, "simulator")])
def test_misfit_and_brightness(off, expected):
    top, rest = REFERENCE.quarters[3][0], REFERENCE.quarters[3][1:]
    low = REFERENCE.brightness[0]
    factor = (low - r.BRIGHTER - off) / REFERENCE.quarters[3].mean()
    assert (
        verdict(first(episode(), img_quarters=(REFERENCE.quarters[3] * factor).tolist()))
        == expected
    )
    one = replace(
        REFERENCE, quarters=REFERENCE.quarters[3:4]
    )  # one task, so that no other is nearer
    shift = (r.MISFIT + off) * 4 / 3  # a part of it goes into the mean
    assert verdict(first(episode(), img_quarters=[top + shift, *rest]), one) == expected


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        ({"img_channels": [130.1, 138.0, 143.5]}, {"img_channels": [141.0, 138.0, 132.0]}),
        (
            {"img_sharpness": REFERENCE.sharpness[1] + r.SHARPER + 0.1},
            {"img_sharpness": REFERENCE.sharpness[1] + r.SHARPER - 0.1},
        ),
        (
            {"img_channels": [143.5, 138.0, 132.5 + REFERENCE.chroma[1] + r.CHROMA + 0.1]},
            {"img_channels": [143.5, 138.0, 132.5 + REFERENCE.chroma[1] + r.CHROMA - 0.1]},
        ),
    ],
)
def test_colours_crop_and_jpeg(fields, good):
    assert verdict(first(episode(), **fields)) == "pixels"
    assert verdict(first(episode(), **good)) == "nothing wrong"


def test_late_pictures():
    lines = episode()
    same = {"img_quarters": lines[0]["img_quarters"]}
    assert verdict([lines[0], {**lines[1], **same}, *lines[2:]]) == "pixels"
    at_rest = {**same, "eef_pos": lines[0]["eef_pos"]}  # nothing moved, so nothing can show
    assert verdict([lines[0], {**lines[1], **at_rest}, *lines[2:]]) == "nothing wrong"


@pytest.mark.parametrize("key", ["bridge_orig", "libero_spatial", "libero_goal", "libero_10"])
def test_foreign_statistics_are_named(key):
    found = diagnose(log_of(episode(key=key)))
    assert (
        found.verdict == "motion" and f"under {key}, not under libero_object" in found.evidence[0]
    )
    assert verdict(episode(key=key), replace(REFERENCE, key=key)) == "nothing wrong"


@pytest.mark.parametrize(
    ("scale", "expected"), [(4, "motion"), (1.001, "motion"), (1 + 1e-7, "nothing wrong")]
)
def test_scaled_motion(scale, expected):
    found = diagnose(log_of(episode(scale=scale)))
    assert found.verdict == expected
    assert found.signatures.mapping.scale == pytest.approx(scale, rel=1e-3)
    if scale == 4:
        assert "beyond ±1" in found.evidence[0] and "4 times" in found.evidence[0]


@pytest.mark.parametrize(
    ("mapping", "words"), [("inverted", "open means close"), ("continuous", "not binarised")]
)
def test_gripper_mapping(mapping, words):
    found = diagnose(log_of(episode(gripper=mapping)))
    assert found.verdict == "motion" and words in found.evidence[0]


def test_unknown_gripper_mapping():
    lines = [{**e, "action": [*e["action"][:6], -0.5]} for e in episode()]
    assert "no known mapping" in diagnose(log_of(lines)).evidence[0]


@pytest.mark.parametrize(("millimetres", "expected"), [(-1, "simulator"), (1, "nothing wrong")])
def test_unsettled(millimetres, expected):
    half = (REFERENCE.fingers[0] - r.FINGERS_MM + millimetres) / 2000
    assert verdict(first(episode(), gripper_qpos=[half, -half])) == expected


@pytest.mark.parametrize(("off", "expected"), [(-1, "nothing wrong"), (1, "prompt")])
def test_first_answer(off, expected):
    bins = np.tile(REFERENCE.first_bins[3].mean(axis=0).round(), (60, 1))
    other = replace(
        REFERENCE, first_bins=REFERENCE.first_bins[3:4]
    )  # one task, so that no other is nearer
    bins[0, 2] = REFERENCE.first_bins[3][0, 2] - 6 * (
        r.FIRST_OFF + off
    )  # z is lower by six times the mean of six
    outside = np.maximum(
        REFERENCE.first_bins[3][0] - bins[0], bins[0] - REFERENCE.first_bins[3][1]
    ).clip(0)
    assert outside[[0, 1, 3, 4, 5]].max() == 0
    assert verdict(episode(bins=bins), other) == expected
    found = diagnose(
        log_of(episode(bins=bins)), replace(REFERENCE, first_bins=None, policy="other")
    )
    assert found.verdict == "nothing wrong" and "'other'" in found.notes[0]


def test_early_gripper():
    grips = np.where(np.arange(60) < 40, OPEN, CLOSE)
    grips[r.EARLY] = 191  # too late to be early
    assert verdict(episode(grips=grips)) == "nothing wrong"
    grips[r.EARLY - 1] = 195
    assert verdict(episode(grips=grips)) == "prompt"
    grips[r.EARLY - 1] = OPEN - 4  # nearly open is open
    assert verdict(episode(grips=grips)) == "nothing wrong"
    assert verdict(episode(close=r.EARLIEST_CLOSE - 1)) == "prompt"
    assert verdict(episode(close=r.EARLIEST_CLOSE)) == "nothing wrong"


def test_measured_faults_come_before_the_inferred_one():
    found = diagnose(log_of(episode(close=0, gripper="inverted")))
    assert found.verdict == "motion" and not any(
        "prompt" in sentence for sentence in found.evidence
    )


def test_two_faults_are_both_told_in_order():
    lines = first(
        episode(key="bridge_orig"),
        img_quarters=[REFERENCE.quarters[3][k] for k in TURNS["mirrored"]],
    )
    found = diagnose(log_of(lines))
    assert found.verdict == "pixels" and [e.split(":")[0] for e in found.evidence] == [
        "pixels",
        "motion",
    ]


def test_log_of_format_1_is_judged_without_what_it_lacks():
    old = [
        {k: v for k, v in e.items() if k not in ("img_channels", "img_sharpness")}
        for e in episode()
    ]
    found = diagnose(log_of(old))
    assert found.verdict == "nothing wrong" and "format 2" in found.notes[0]
    assert (
        verdict(
            [
                {k: v for k, v in e.items() if k not in ("img_channels", "img_sharpness")}
                for e in episode(key="bridge_orig")
            ]
        )
        == "motion"
    )


def write(folder, lines):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "steps.jsonl").write_text("".join(json.dumps(e) + "\n" for e in lines))
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["diagnose", *map(str, arguments)])


def test_bad_folders(tmp_path):
    (write(tmp_path / "list", episode()) / "steps.jsonl").write_text("[1]\n")
    with pytest.raises(TutorialError, match=r"line 1 is not as expected .*got `array`"):
        diagnose_folder(tmp_path / "list")
    shown = run(tmp_path)
    assert shown.exit_code == 2
    assert "steps.jsonl" in shown.output
    assert "episodes.jsonl" in shown.output
    shown = run(tmp_path / "list", "--suite", "libero_objekt")
    assert shown.exit_code == 2
    assert "libero_objekt" in shown.output


def test_a_gripper_command_of_zero_does_not_close():
    """Signatures and table take the log's own count: −1, −1, −0, −0, −1 has no close."""
    lines = episode(5)
    for line, command in zip(lines, (-1.0, -1.0, -0.0, 0.0, -1.0), strict=True):
        line["action"][6] = command
    gripper = diagnose(log_of(lines)).signatures.gripper
    assert (gripper.first_close, gripper.closes, gripper.chatter) == (None, 0, 0)


def sweep(folder, episodes):
    """`episodes`: (condition, task, init, outcome, lines or None)."""
    folder.mkdir(exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps({"format": 1, "suite": "libero_object"}))
    with (folder / "episodes.jsonl").open("w") as file:
        for condition, task, init, outcome, lines in episodes:
            name = f"episodes/{condition}/{task}_{init}"
            line = {
                "suite": "libero_object",
                "task": task,
                "init": init,
                "condition": condition,
                "success": {"success": True, "failure": False, "error": None}[outcome],
            }
            file.write(json.dumps({**line, "outcome": outcome, "folder": name}) + "\n")
            if lines is not None:
                write(folder / name, lines)
    return folder


def test_sweep(tmp_path):
    failed = episode(LIMIT, success=False)
    folder = sweep(
        tmp_path,
        [
            ("published", 0, 0, "success", episode()),
            ("published", 0, 1, "failure", failed),
            (
                "gripper_inverted",
                0,
                0,
                "failure",
                episode(LIMIT, success=False, gripper="inverted"),
            ),
            ("gripper_inverted", 0, 1, "error", None),
            ("no_flip", 0, 0, "failure", None),
        ],
    )
    found = diagnose_sweep(folder)
    assert found.counts() == {
        "published": {"nothing wrong": 1, "policy": 1},
        "gripper_inverted": {"motion": 1},
    }
    assert found.counts(failed_only=True)["published"] == {"policy": 1}
    assert found.errors == 1 and [e.condition for e, _ in found.unreadable] == ["no_flip"]
    assert found.notes == ()
    shown = run(folder)
    assert shown.exit_code == 0
    assert "gripper_inverted" in shown.output
    assert "no_flip/0_0" in shown.output
    asjson = json.loads(run(folder, "--json").stdout)
    assert asjson["counts"]["gripper_inverted"] == {"motion": 1} and len(asjson["episodes"]) == 3


def test_a_cut_last_line_is_left_out_and_noted(tmp_path):
    """As `vla-tutorial report` does: the rule is `episodes.read_sweep`'s."""
    folder = sweep(tmp_path, [("published", 0, 0, "success", episode())])
    with (folder / "episodes.jsonl").open("a") as file:
        file.write('{"suite": "lib')
    found = diagnose_sweep(folder)
    assert len(found.judged) == 1
    assert "line 2" in found.notes[0]
    shown = run(folder)
    assert shown.exit_code == 0
    assert "line 2" in shown.stderr
    assert "line 2" in json.loads(run(folder, "--json").stdout)["notes"][0]


def test_an_episode_that_stands_there_twice_is_refused(tmp_path):
    episodes = [("published", 0, 0, "error", None), ("published", 0, 0, "success", episode())]
    with pytest.raises(TutorialError, match=r"lines 1 and 2 .*published, task 0, init 0"):
        diagnose_sweep(sweep(tmp_path, episodes))


def test_a_broken_line_or_no_line_is_an_error(tmp_path):
    folder = sweep(tmp_path, [("published", 0, 0, "success", episode())])
    path = folder / "episodes.jsonl"
    path.write_text('{"suite": "lib\n' + path.read_text())
    with pytest.raises(TutorialError, match="line 1"):
        diagnose_sweep(folder)
    path.write_text("")
    with pytest.raises(TutorialError, match=r"episodes\.jsonl"):
        diagnose_sweep(folder)
    assert run(folder).exit_code == 2


@pytest.mark.parametrize(
    ("condition", "broken"),
    [
        ("published", set()),
        ("no_flip", {"pixels"}),
        ("no_flip+wrong_prompt", {"pixels", "prompt"}),
        ("unheard_of", set()),
        ("camera_15", set()),
    ],
)
def test_boundaries_of_a_condition(condition, broken):
    assert boundaries(condition) == broken


def test_command_tells_verdict_evidence_and_next_step(tmp_path):
    folder = write(tmp_path, episode(key="bridge_orig"))
    shown = run(folder)
    assert shown.exit_code == 0
    assert (
        "Suspected: motion" in shown.output
        and "bridge_orig" in shown.output
        and "Wiring.unnorm_key" in shown.output
    )
    assert json.loads(run(folder, "--json").stdout)["verdict"] == "motion"


def test_only_the_log_is_read(tmp_path):
    folder = write(tmp_path, episode(gripper="inverted"))
    (folder / "episode.json").write_text("not even JSON")
    assert diagnose_folder(folder).verdict == "motion"


TRUTH = json.loads((RECORDED / "truth.json").read_text())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    shutil.unpack_archive(RECORDED / "logs.tar.gz", folder, filter="data")
    return folder


@pytest.mark.parametrize("name", TRUTH)
def test_recorded(name, recorded):
    """Trimmed logs of `mini` whose condition is known (tests/data/diagnose/README.md)."""
    assert diagnose_folder(recorded / name).verdict == TRUTH[name]
    assert TRUTH[name] in VERDICTS


def flat(value, name=""):
    """A nested dictionary with one level: "picture.brightness" → number or word."""
    if not isinstance(value, dict):
        return {name: value}
    found = {}
    for key, part in value.items():
        found |= flat(part, f"{name}.{key}" if name else key)
    return found


SIGNATURES = json.loads((RECORDED / "signatures.json").read_text())


@pytest.mark.parametrize("name", TRUTH)
def test_signatures_of_recorded_logs_stay(name, recorded):
    """Verdicts that were kept under `RULES_VERSION` are made of these numbers."""
    assert SIGNATURES["rules"] == r.RULES_VERSION
    found = flat(asdict(diagnose_folder(recorded / name).signatures))
    expected = SIGNATURES["logs"][name]
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, float):
            value = pytest.approx(value, rel=1e-5, abs=1e-9)
        assert found[key] == value, key
