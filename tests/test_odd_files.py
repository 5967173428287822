"""No file of an episode, a sweep or a clip ends in anything but a result or a TutorialError."""

import io
import json
import lzma
from dataclasses import asdict
from pathlib import Path

import pytest
import sweep_folder
from fuzzing import EXAMPLES, fuzzed, in_bounds, mutated_json, mutated_lines, mutated_text
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from vla_tutorial.diagnose import diagnose
from vla_tutorial.episodes import read_sweep
from vla_tutorial.log import read_log
from vla_tutorial.player import Player, show_episodes
from vla_tutorial.player.clip_script import write_clip_script
from vla_tutorial.player.clips import CLIP_FILES, clip_index, write_clip_index
from vla_tutorial.player.episode_data import episode_data
from vla_tutorial.plots import read_curves, training_figure
from vla_tutorial.report import build_report, report_csv, report_json, report_text
from vla_tutorial.report.page import report_html
from vla_tutorial.spec import PUBLISHED_WIRING

DATA = Path(__file__).parent / "data"
KEPT = DATA / "odd_files"


# --- what reads each file -----------------------------------------------------------------------


def judge(folder):
    diagnose(read_log(folder))


def show(folder):
    shown = show_episodes(folder, folder)
    page = shown.html()
    page.encode()
    # It would swallow the rest of the page.
    assert "<!--" not in page
    shown.answer("0")


def report(folder):
    """Each report but the page, which takes long to draw."""
    found = build_report([read_sweep(folder)])
    report_json(found).encode()
    report_csv(found).encode()
    Console(width=100, file=io.StringIO()).print(report_text(found))


def draw(folder):
    sweep = read_sweep(folder)
    report_html(build_report([sweep]), [sweep]).encode()


def play(folder):
    player = Player(folder, right=("no_flip",))
    player.html().encode()
    message, _ = player.answer("0_0/no_flip")
    assert ("data" in message) != ("error" in message)
    clip_index(folder)


def plot(folder):
    training_figure(read_curves(folder / "curves.jsonl"))


READERS = {
    "steps": ("episode/steps.jsonl", judge),
    "shown_steps": ("episode/steps.jsonl", show),
    "record": ("episode/episode.json", show),
    "picture": ("episode/agentview.png", show),
    "episodes": ("sweep/episodes.jsonl", report),
    "sweep": ("sweep/sweep.json", report),
    "swept_record": ("sweep/episodes/published/0_0/episode.json", report),
    "drawn_episodes": ("sweep/episodes.jsonl", draw),
    "drawn_sweep": ("sweep/sweep.json", draw),
    "index": ("clips/manifest.js", play),
    "clip": ("clips/0_0/no_flip/episode.js", play),
    "curves": ("run/curves.jsonl", plot),
}
"""Name → the file that is damaged, and what then reads the folder that it belongs to."""

SLOW = ("drawn_episodes", "drawn_sweep")
"""A page takes a third of a second, so these get a twentieth of the files."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An episode, a sweep and clips that every reader reads."""
    root = tmp_path_factory.mktemp("whole")
    _write_episode(root / "episode")
    _write_sweep(root / "sweep")
    _write_clips(root / "clips", root / "episode")
    (root / "run").mkdir()
    lines = [{"step": k, "seconds": 1.5, "cross_entropy": 2.0, "success": None} for k in (1, 2)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (root / "run/curves.jsonl").write_text(text)
    return root


def _write_episode(folder):
    folder.mkdir()
    with lzma.open(DATA / "logs/published.jsonl.xz") as file:
        lines = file.read().splitlines()
    (folder / "steps.jsonl").write_bytes(b"".join(line + b"\n" for line in lines[:5]))
    record = {
        "format": 2,
        "success": True,
        "steps": 5,
        "first_close": None,
        "suite": "libero_object",
        "task": 0,
        "init": 0,
        "instruction": "pick up the soup",
        "conditions": ["no_flip"],
        "policy": {"name": "mini", "checkpoint": "mini"},
        "wiring": asdict(PUBLISHED_WIRING),
        "versions": {"mujoco": "3.3.2"},
        "warnings": ["one"],
    }
    (folder / "episode.json").write_text(json.dumps(record, indent=1))
    Image.new("RGB", (9, 9), "red").save(folder / "agentview.png")
    (folder / "episode.mp4").write_bytes(b"a film")


def _write_sweep(folder):
    lines = [
        sweep_folder.episode(),
        sweep_folder.episode(1, 1, success=False, first_close=None),
        sweep_folder.error(1, 2),
        sweep_folder.episode(condition="no_flip", success=False),
        sweep_folder.episode(1, 1, "no_flip", target="milk_1", own_target=True, travel=0.5),
    ]
    sweep_folder.write(folder, lines, targets={"1": ["milk_1"]}, joined=[{"command": "x"}])
    record = folder / "episodes/published/0_0/episode.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"instruction": "pick up the soup", "steps": 3}))


def _write_clips(out, episode):
    for names in ([], ["no_flip"]):
        key = f"0_0/{names[0] if names else 'published'}"
        (out / key).mkdir(parents=True)
        for name in CLIP_FILES:
            (out / key / name).write_bytes(name.encode())
        data = {"key": key, **episode_data(episode), "conditions": names, "weights": "0"}
        write_clip_script(out / key / "episode.js", f"x[{key!r}]", data)
    write_clip_index(out)


# --- the tests ----------------------------------------------------------------------------------


def read(root, name, content):
    """Put `content` in the place of the reader's file, and read it within the bounds."""
    place, reader = READERS[name]
    path = root / place
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        with in_bounds():
            reader(root / place.partition("/")[0])
    finally:
        path.write_bytes(whole)


def mutated(name, content):
    """Files like `content`, which a reader reads."""
    if name == "picture":
        return mutated_text(content)
    if name in ("index", "clip"):
        target, _, value = content.partition(b"=")
        scripts = mutated_json(value.rstrip().removesuffix(b";"))
        return st.one_of(
            scripts.map(lambda text: target + b"=" + text + b";\n"), mutated_text(content)
        )
    if READERS[name][0].endswith(".jsonl"):
        return mutated_lines(content)
    return mutated_json(content)


def read_whole(root, name):
    place, reader = READERS[name]
    reader(root / place.partition("/")[0])


@pytest.mark.parametrize("name", READERS)
def test_the_whole_file_is_read(whole, name):
    read_whole(whole, name)


@pytest.mark.parametrize("name", READERS)
def test_no_mutated_file_ends_in_a_traceback(whole, name):
    examples = max(10, EXAMPLES // 20) if name in SLOW else EXAMPLES

    # The first call imports and builds what is kept, outside of the bounds.
    read_whole(whole, name)

    @fuzzed(max_examples=examples)
    @given(content=mutated(name, (whole / READERS[name][0]).read_bytes()))
    def run(content):
        read(whole, name, content)

    run()


def kept():
    """Files that earlier versions failed on; tests/book/test_claims.py has those of the claims."""
    return sorted(path for path in KEPT.glob("*/*") if path.parent.name in READERS)


@pytest.mark.parametrize("path", kept(), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_once_failed_is_read_or_named(whole, path):
    read_whole(whole, path.parent.name)
    read(whole, path.parent.name, path.read_bytes())
