"""The player's Python half on made-up clips; what a browser does with it is tested in tests/browser."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import asdict
from html.parser import HTMLParser
from importlib import resources

import pytest
from PIL import Image

from vla_tutorial.errors import TutorialError
from vla_tutorial.player import Player, display, show_episodes
from vla_tutorial.player.clip_script import write_clip_script
from vla_tutorial.player.clips import CLIP_FILES, write_clip_index
from vla_tutorial.spec import PUBLISHED_WIRING

STATIC = resources.files("vla_tutorial") / "player"
EPISODE = {
    "format": 1,
    "suite": "libero_object",
    "task": 0,
    "init": 0,
    "instruction": "pick up the <soup>",
    "success": False,
    "steps": 2,
    "first_close": None,
    "caption": "The arm hardly moves.",
    "changes": {},
    "warnings": [],
    "policy": {"name": "mini"},
    "versions": {},
    "weights": "0",
    "series": {
        "gripper": [-1, -1],
        "height": [25, 25],
        "motion": [0, 0],
        "image_mean": [99, 99],
        "tokens": "80" * 14,
    },
}


@pytest.fixture
def clips(tmp_path):
    for names in ((), ("no_flip",), ("no_flip", "wrong_prompt")):
        key = f"0_0/{'+'.join(names) or 'published'}"
        folder = tmp_path / "clips" / key
        folder.mkdir(parents=True)
        for name in CLIP_FILES:
            (folder / name).write_bytes(name.encode())
        data = {"key": key, **EPISODE, "conditions": list(names)}
        write_clip_script(folder / "episode.js", f"x[{key!r}]", data)
    write_clip_index(tmp_path / "clips")
    return tmp_path / "clips"


@pytest.fixture
def recorded(tmp_path, lines):
    folder = tmp_path / "run"
    folder.mkdir()
    kept = ("suite", "task", "init", "instruction", "warnings", "policy", "versions")
    entry = {k: EPISODE[k] for k in kept} | {
        "conditions": [],
        "success": True,
        "steps": 10,
        "first_close": 4,
        "wiring": asdict(PUBLISHED_WIRING),
    }
    (folder / "episode.json").write_text(json.dumps(entry))
    (folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "episode.mp4").write_bytes(b"a film")
    Image.new("RGB", (224, 224)).save(folder / "agentview.png")
    return folder


def test_placeholder_and_table(clips):
    page = Player(clips, right=("wrong_prompt", "no_flip")).html()
    assert (
        'data-vla-player data-task="0" data-init="0" data-left="" data-right="wrong_prompt+no_flip"'
        in page
    )
    table = page[page.index("<noscript>") : page.index("</noscript>")]
    assert table.count("<tr>") == 4
    assert "“pick up the &lt;soup&gt;”" in table
    sources = re.findall(r'<img src="([^"]+)" alt="[^"]+"', table)
    assert sources[:2] == [
        "../_static/0_0/published/poster.webp",
        "../_static/0_0/published/end.webp",
    ]
    assert len(sources) == 6
    assert "base64" not in page


def test_display_serves_both_hosts(clips):
    pytest.importorskip("anywidget")
    shown = Player(clips, right=("no_flip",))
    bundle, _ = shown._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert shown.widget() is shown.widget()
    assert shown.widget().options == {"task": 0, "init": 0, "left": [], "right": ["no_flip"]}
    assert bundle["text/plain"] == "Player of 3 clips (task 0: published | no_flip)"


def test_without_anywidget_the_page_remains(clips, monkeypatch):
    shown = Player(clips, right=())
    monkeypatch.setattr(display, "has_anywidget", lambda: False)
    assert set(shown._repr_mimebundle_()[0]) == {"text/html", "text/plain"}
    with pytest.raises(TutorialError, match="pip install anywidget"):
        shown.widget()


def test_widget_sends_what_the_script_asks_for_and_nothing_else(clips, monkeypatch):
    pytest.importorskip("anywidget")
    sent = []
    widget = Player(clips, right=()).widget()
    monkeypatch.setattr(widget, "send", lambda message, buffers: sent.append(message["key"]))
    for key in ("0_0/no_flip", "../elsewhere", None):
        widget._handle_custom_msg({"type": "want", "key": key}, [])
    widget._handle_custom_msg({"type": "other", "key": "0_0/no_flip"}, [])
    assert sent == ["0_0/no_flip"]


def test_kernel_answers_with_data_and_media(clips):
    shown = Player(clips, right=())
    message, buffers = shown.answer("0_0/no_flip")
    assert message["data"]["conditions"] == ["no_flip"]
    assert message["media"] == [
        ["video", "video/mp4"],
        ["poster", "image/webp"],
        ["end", "image/webp"],
    ]
    assert buffers == [b"episode.mp4", b"poster.webp", b"end.webp"]
    shutil.rmtree(clips / "0_0/no_flip")
    message, buffers = shown.answer("0_0/no_flip")
    assert "0_0/no_flip/episode.js" in message["error"]
    assert buffers == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": 3}, "task 3, initial state 0 .*--tasks 3 --init 0$"),
        ({"init": 1, "left": ("no_flip",)}, "--tasks 0 --init 1 --also no_flip$"),
        ({"right": ("wrong_unnorm_key",)}, "wrong_unnorm_key for task 0.*--also wrong_unnorm_key$"),
        ({"right": ("no_flap",)}, "'no_flip'"),
    ],
)
def test_what_is_not_there_is_said(clips, options, words):
    with pytest.raises(TutorialError, match=words):
        Player(clips, **options)


def test_clips_are_found_above_or_said_to_be_missing(clips, tmp_path, monkeypatch):
    shutil.copytree(clips, tmp_path / "book" / "clips")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert Player(right=()).clips == tmp_path / "book" / "clips"
    with pytest.raises(TutorialError, match="vla-tutorial clips"):
        Player(tmp_path / "elsewhere")


def test_fresh_episodes_travel_inside_the_page(recorded):
    page = show_episodes(recorded, recorded, labels=["one", "</script>two"]).html()
    inside = re.search(r'<script type="application/json">(.*?)</script>', page)
    everything = json.loads(inside[1])
    assert [e["label"] for e in everything["index"]["episodes"]] == ["one", "</script>two"]
    assert everything["index"]["conditions"] == []
    assert everything["episodes"]["1"]["steps"] == 10
    assert everything["episodes"]["0"]["changes"] == {}
    assert set(everything["media"]["0"]) == {"video", "poster"}
    assert "data:image/webp;base64," in page[: page.index("</noscript>")]
    assert 'data-sides="2"' in page


def test_fresh_episodes_bad_input(recorded, tmp_path):
    with pytest.raises(TutorialError, match="2 folders and 1 labels"):
        show_episodes(recorded, recorded, labels=["one"])
    with pytest.raises(TutorialError, match=r"episode\.json"):
        show_episodes(tmp_path)
    with pytest.raises(TutorialError, match="0 folders"):
        show_episodes()
    (recorded / "steps.jsonl").write_text("")
    with pytest.raises(TutorialError, match=r"steps\.jsonl"):
        show_episodes(recorded)


class Scripts(HTMLParser):
    """What a browser sees of scripts: the text inside of each, and the text behind them."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.behind, self.inside = [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data
        else:
            self.behind += data


@pytest.mark.parametrize(
    "text",
    ["<!--<script>", "</script>", "<!-- <script </script", "]]>", "a & b \u2028 é", '"quoted" \\'],
)
def test_no_text_of_an_episode_swallows_the_page(recorded, text):
    """What stands behind the player stays there, whatever the record says."""
    path = recorded / "episode.json"
    entry = json.loads(path.read_text())
    changed = {"instruction": text, "warnings": [text], "versions": {"mujoco": text}}
    path.write_text(json.dumps(entry | changed | {"wiring": {"center_crop": text}}))
    page = show_episodes(recorded, labels=[text]).html()
    seen = Scripts(page + "<p>and on</p>")
    assert seen.behind.endswith("and on")
    (script,) = seen.scripts
    assert "<" not in script
    everything = json.loads(script)
    assert everything["episodes"]["0"]["instruction"] == text
    assert everything["episodes"]["0"]["changes"]["center_crop"] == [True, text]


RECORD_DAMAGE = (
    ("[1]", "expected `object`, got `array`"),
    ("{", "is not JSON"),
    ("", "is not JSON"),
    ("null", "got `null`"),
    ("[" * 9999, "got `array`"),
    ("{}", "lacks suite, task, init, instruction, conditions, success, steps"),
    ({"task": "0"}, "holds task '0'"),
    ({"suite": 5}, "holds suite 5"),
    ({"conditions": None}, "holds conditions None"),
    ({"conditions": [1]}, r"holds conditions\[0\] 1"),
    ({"policy": "mini"}, "holds policy 'mini'"),
    ({"wiring": []}, r"holds wiring \[\]"),
    ({"steps": -1}, "holds steps -1"),
    ({"success": "yes"}, "holds success 'yes'"),
    ({"versions": [1]}, r"holds versions \[1\]"),
    ({"first_close": 1e12}, "holds first_close 1000000000000.0"),
    ({"instruction": float("nan")}, "holds instruction nan"),
)


@pytest.mark.parametrize(("damage", "named"), RECORD_DAMAGE)
def test_a_damaged_record_is_named(recorded, damage, named):
    path = recorded / "episode.json"
    if isinstance(damage, dict):
        damage = json.dumps(json.loads(path.read_text()) | damage)
    path.write_text(damage)
    with pytest.raises(TutorialError, match=rf"episode\.json .*{named}"):
        show_episodes(recorded)


def test_a_damaged_line_of_a_log_is_named(recorded):
    path = recorded / "steps.jsonl"
    lines = path.read_text().splitlines()
    for line, named in (("{", "is not JSON"), ("[]", "got `array`"), ('{"step": 3}', "lacks img_")):
        path.write_text("\n".join([*lines[:3], line, *lines[4:]]))
        with pytest.raises(TutorialError, match=rf"steps\.jsonl, line 4 .*{named}"):
            show_episodes(recorded)


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "cut", "huge"]
)
def test_a_damaged_picture_is_named(recorded, content):
    path = recorded / "agentview.png"
    if content == "cut":
        content = path.read_bytes()[:-60]
    if content == "huge":
        Image.new("1", (30_000, 10)).save(path)
        content = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(TutorialError, match=r"agentview\.png is not a picture"):
        show_episodes(recorded)


def test_a_video_that_is_too_large_for_a_page_is_named(recorded):
    os.truncate(recorded / "episode.mp4", 65 * 2**20)
    with pytest.raises(TutorialError, match=r"episode\.mp4 has 65 MiB, expected at most 64"):
        show_episodes(recorded)


def test_a_folder_whose_name_is_no_text(recorded):
    odd = recorded.rename(recorded.parent / os.fsdecode(b"run\xff"))
    shown = show_episodes(odd)
    assert "run�" in shown.html().encode().decode()
    assert repr(shown) == "Player of run�"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "is not JSON"),
        ("globalThis.VLA_CLIPS={};", "is not JSON"),
        ('x={"format":1};', "lacks suite, policies, conditions, episodes"),
        (
            'x={"format":1,"suite":"a","policies":[],"conditions":{},"episodes":[]};',
            "conditions {}",
        ),
        ('x={"format":1,"suite":"a","policies":[],"conditions":[],"episodes":[5]};', "episodes"),
    ],
)
def test_a_damaged_index_is_named(clips, content, named):
    (clips / "manifest.js").write_text(content)
    with pytest.raises(TutorialError, match=rf"manifest\.js .*{named}.*vla-tutorial clips --out"):
        Player(clips)


def test_script_is_small_and_needs_nobody_else():
    text = (STATIC / "player.js").read_text()
    assert len(text.encode()) <= 48_000
    hosts = set(re.findall(r"https?://[\w./]+", text + (STATIC / "player.css").read_text()))
    assert hosts == {"http://www.w3.org/2000/svg"}


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_script_parses_as_script_and_as_module(tmp_path):
    subprocess.run(["node", "--check", str(STATIC / "player.js")], check=True)
    module = tmp_path / "live.mjs"
    module.write_text((STATIC / "player.js").read_text() + "export default {};")
    subprocess.run(["node", "--check", str(module)], check=True)
