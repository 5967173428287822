"""The live page's widget and server: the address, the messages of the page as a log, no torch, the headers."""

import subprocess
import sys
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

pytest.importorskip("anywidget")

from vla_tutorial.errors import TutorialError
from vla_tutorial.live import Live


@pytest.fixture
def site(tmp_path):
    """A folder that looks like a built page."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text("{}")
    (tmp_path / "index.html").write_text("<title>live</title>")
    (tmp_path / "engine_worker.js").write_text("")
    (tmp_path / "part.mjs").write_text("")
    return tmp_path


@pytest.fixture
def live(site):
    made = Live(task=3, init=7, conditions=["no_flip", "wrong_prompt"], folder=site)
    yield made
    made.close()


def line(step, close=False):
    return {
        "step": step,
        "img_mean": 137.0,
        "img_quarters": [121.3, 112.1, 163.7, 151.1],
        "img_channels": [143.5, 138.0, 130.1],
        "img_sharpness": 9.3,
        "action": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0 if close else -1.0],
        "reward": 0.0,
        "tokens": [31999] * 7,
        "eef_pos": [0.0, 0.0, 0.2],
        "gripper_qpos": [0.0387, -0.0387],
    }


def test_the_address_holds_the_experiment_and_the_server_answers(live):
    parts = urlsplit(live.address)
    asked = parse_qs(parts.fragment, keep_blank_values=True)
    assert asked["task"] == ["3"]
    assert asked["init"] == ["7"]
    assert (asked["suite"], asked["policy_a"]) == (["libero_object"], ["mini"])
    assert asked["a"] == ["no_flip.wrong_prompt"]
    with urlopen(live.address.partition("#")[0], timeout=30) as answer:
        assert b"live" in answer.read()
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert "'wasm-unsafe-eval'" in answer.headers["Content-Security-Policy"]
        assert "unsafe-inline" not in answer.headers["Content-Security-Policy"]
    root = f"{parts.scheme}://{parts.netloc}"
    with urlopen(f"{root}/part.mjs", timeout=30) as answer:
        assert answer.headers["Content-Type"] == "text/javascript"
    with pytest.raises(HTTPError):
        urlopen(f"{root}/../../etc/passwd", timeout=30)


def test_two_sides(site):
    made = Live(
        conditions=["no_flip"],
        beside=[],
        instruction="take it, please",
        suite="libero_10",
        policy="mini-narrow",
        folder=site,
    )
    asked = parse_qs(urlsplit(made.address).fragment, keep_blank_values=True)
    made.close()
    assert (asked["a"], asked["b"], asked["say_b"]) == ([""], ["no_flip"], ["take it, please"])
    assert (asked["suite"], asked["policy_b"]) == (["libero_10"], ["mini-narrow"])
    assert "policy_a" not in asked


def test_it_can_begin_at_once(site, live):
    made = Live(run=True, folder=site)
    asked = parse_qs(urlsplit(made.address).fragment, keep_blank_values=True)
    made.close()
    assert asked["run"] == ["1"]
    assert "run=1" not in live.address


def test_steps_become_a_log(live):
    with pytest.raises(TutorialError, match="no step yet"):
        live.log()
    with pytest.raises(TutorialError, match="sides are A and B"):
        live.log("C")
    for step in range(5):
        live._hear(None, {"type": "step", "side": "A", "line": line(step, step > 2)}, [])
    live._hear(None, {"type": "step", "side": "nobody", "line": line(0)}, [])
    live._hear(None, {"type": "step", "side": "A", "line": "nonsense"}, [])
    assert (len(live.log()), live.log().first_close) == (5, 3)
    assert live.diagnose().verdict in ("prompt", "simulator", "pixels", "motion", "nothing wrong")
    live._hear(None, {"type": "begin", "side": "A"}, [])
    with pytest.raises(TutorialError, match="no step yet"):
        live.log()


def test_the_log_as_a_table(live):
    pytest.importorskip("pandas")
    for step in range(3):
        live._hear(None, {"type": "step", "side": "B", "line": line(step)}, [])
    table = live.table("B")
    assert list(table.index) == [0, 1, 2]
    assert table.tokens[0] == [31999] * 7


def test_a_page_that_was_not_built(tmp_path, monkeypatch):
    with pytest.raises(TutorialError, match="vla-tutorial live build"):
        Live(folder=tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TutorialError, match="vla-tutorial live build"):
        Live()


def test_the_widget_needs_no_torch():
    code = "import sys; from vla_tutorial.live import Live; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
