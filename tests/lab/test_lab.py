"""The lab without a browser, a policy or a simulator: the logic of choosing, running, stopping and comparing."""

import json
import shlex
import threading
from pathlib import Path
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pytest
from typer.testing import CliRunner

from vla_tutorial import actions, lab
from vla_tutorial.cli import app as cli
from vla_tutorial.conditions import CATALOGUE
from vla_tutorial.errors import TutorialError
from vla_tutorial.lab import form as lab_form
from vla_tutorial.lab import inputs, live
from vla_tutorial.sim import Observation
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.wiring import Wiring


class FakeSimulator:
    """Succeeds at step 6. Counts what was built and closed."""

    built = closed = 0

    def __init__(self, suite, task, camera_size, own=None):
        FakeSimulator.built += 1
        self.task = SimpleNamespace(instruction="pick up the milk and place it in the basket")
        self.n, self.thread = 0, threading.get_ident()

    def _observation(self):
        picture = np.full((64, 64, 3), self.n, np.uint8)
        return Observation(picture, np.array([0, 0, 0.2]), np.zeros(4), np.zeros(2), np.zeros(7))

    def start(self, scene, settle_steps):
        self.n = 0
        return self._observation()

    def step(self, action):
        assert threading.get_ident() == self.thread, "a GL context belongs to one thread"
        self.n += 1
        return self._observation(), float(self.n == 6), self.n == 6

    def close(self):
        FakeSimulator.closed += 1


class FakePolicy:
    """Closes the gripper at its third answer. `gate`, when given, is waited for before each answer."""

    name, privileged, statistics, provenance = "fake", False, {}, {}

    def __init__(self, gate=None, error=None):
        self.gate, self.error, self.n = gate, error, 0

    def predict(self, batch):
        if self.gate:
            assert self.gate.acquire(timeout=10)
        if self.error:
            raise self.error
        self.n += 1
        return actions.encode(
            [[0.1, 0, 0, 0, 0, 0, float(self.n < 3)]],
            actions.embedded_statistics()["libero_object"],
        )

    def close(self):
        pass


@pytest.fixture
def session():
    FakeSimulator.built = FakeSimulator.closed = 0
    with live.Session(lambda spec: FakePolicy(), FakeSimulator) as made:
        yield made


@pytest.fixture
def form(tmp_path, session, monkeypatch):
    def names(episodes):
        return ipywidgets.HTML("|".join(episode.folder.name for episode in episodes))

    monkeypatch.setattr(lab_form, "show_player", names)
    return lab.Form(tmp_path, session)


def test_a_run_records_an_episode_and_tells_of_every_step(tmp_path, session):
    seen = []
    episode = live.LiveEpisode(
        EpisodeSpec(), tmp_path / "a", session, lambda r: seen.append((r.state, r.steps))
    )
    episode.start()
    result = episode.wait(60)
    assert result and (result.success, result.steps, result.first_close) == (True, 6, 2)
    assert [s for s, _ in seen] == ["preparing", "running"] + ["running"] * 6 + ["success"]
    assert [n for _, n in seen] == [0, 0, 1, 2, 3, 4, 5, 6, 6]
    assert json.loads((tmp_path / "a/episode.json").read_text())["success"] is True


def test_a_step_limit_makes_a_failure_and_not_an_error(tmp_path, session):
    episode = live.LiveEpisode(EpisodeSpec(max_steps=4), tmp_path / "a", session)
    episode.start()
    assert episode.wait(60).success is False
    assert (episode.state, episode.error) == ("failure", "")


def test_stop_really_stops_and_keeps_what_was_recorded_as_incomplete(tmp_path):
    gate = threading.Semaphore(3)
    with live.Session(lambda spec: FakePolicy(gate), FakeSimulator) as session:
        third = threading.Event()
        episode = live.LiveEpisode(
            EpisodeSpec(), tmp_path / "a", session, lambda r: third.set() if r.steps == 3 else None
        )
        episode.start()
        assert third.wait(60)
        episode.stop()
        gate.release(10)
        result = episode.wait(60)
    assert episode.state == "stopped"
    assert result.success is None and result.steps in (3, 4)
    assert json.loads((tmp_path / "a/episode.json").read_text())["success"] is None
    assert len((tmp_path / "a/steps.jsonl").read_text().splitlines()) == result.steps


def test_stopped_before_the_first_step_records_nothing(tmp_path, session):
    episode = live.LiveEpisode(EpisodeSpec(), tmp_path / "a", session)
    episode.stop()
    episode.start()
    assert episode.wait(60) is None
    assert episode.state == "stopped" and not (tmp_path / "a").exists()


def test_simulators_are_kept_for_the_same_task_and_closed_for_another(tmp_path, session):
    for k, task in enumerate((0, 0, 1)):
        live.run(tmp_path / str(k), session, task=task, max_steps=2)
    assert (FakeSimulator.built, FakeSimulator.closed) == (2, 1)
    session.close()
    assert FakeSimulator.closed == 2


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TutorialError("No memory left."), "No memory left."),
        (ValueError("odd shape"), "ValueError: odd shape"),
    ],
)
def test_an_error_is_one_line_and_never_a_failure_of_the_policy(tmp_path, error, line):
    with live.Session(lambda spec: FakePolicy(error=error), FakeSimulator) as session:
        episode = live.LiveEpisode(EpisodeSpec(), tmp_path / "a", session)
        episode.start()
        try:
            episode.wait(60)
        except ValueError:
            assert not isinstance(error, TutorialError)
    assert (episode.state, episode.error) == ("error", line)


def test_contradicting_conditions_are_refused_before_anything_starts(tmp_path, session):
    with pytest.raises(TutorialError, match="both change orientation"):
        live.LiveEpisode(
            EpisodeSpec(conditions=("no_flip", "flip_only")), tmp_path / "a", session
        ).start()
    assert FakeSimulator.built == 0


def test_an_instruction_of_ones_own_and_a_condition_with_another_are_refused():
    spec = EpisodeSpec(conditions=("paraphrase_1",), instruction="take the soup")
    with pytest.raises(TutorialError, match="paraphrase_1 has an instruction of its own"):
        spec.settings()


def test_an_episode_is_never_written_over(tmp_path, session):
    live.run(tmp_path / "a", session, max_steps=2)
    with pytest.raises(TutorialError, match="already holds an episode"):
        live.run(tmp_path / "a", session, max_steps=2)


SPECS = [
    EpisodeSpec(),
    EpisodeSpec(instruction='bring me the soup, it\'s "hot"', conditions=("no_flip",)),
    EpisodeSpec("libero_object_swap", 3, 7, "mini", None, ("no_flip", "wrong_unnorm_key"), 80),
    EpisodeSpec(policy="openvla", checkpoint="a folder/with spaces"),
]


@pytest.mark.parametrize("spec", SPECS)
def test_the_line_of_python_says_the_same_spec(spec, monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(
        lab, "run", lambda folder, **given: said.append((folder, EpisodeSpec(**given)))
    )
    exec(f"import vla_tutorial.lab; {spec.python(tmp_path)}")
    assert said == [(str(tmp_path), spec)]


@pytest.mark.parametrize("spec", SPECS[:3])
def test_the_line_of_shell_records_the_same_episode(spec, tmp_path, monkeypatch):
    said = {}

    def record(policy, simulator, wiring, scene, folder, names, **rest):
        said.update(settings=(wiring, scene), folder=folder, names=tuple(names))
        return live.Result(True, 1, 0.1, None)

    class Quiet(FakeSimulator):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("vla_tutorial.record.record_episode", record)
    monkeypatch.setattr("vla_tutorial.sim.Simulator", Quiet)
    monkeypatch.setattr("vla_tutorial.policies.load_policy", lambda *_, **__: FakePolicy())
    words = shlex.split(spec.command(tmp_path / "a"))
    assert words[0] == "vla-tutorial"
    outcome = CliRunner().invoke(cli.app, words[1:])
    assert outcome.exit_code == 0, outcome.output
    assert said == {
        "settings": spec.settings(),
        "folder": tmp_path / "a",
        "names": spec.conditions,
    }


def test_the_form_offers_every_condition_and_starts_with_the_published_protocol(form):
    assert list(form.inputs.conditions) == list(CATALOGUE)
    assert form.inputs.spec == EpisodeSpec()
    assert form.inputs.spec.settings()[0] == Wiring(unnorm_key="libero_object")


def test_the_code_follows_the_form(form):
    form.inputs.conditions["no_flip"].value = True
    form.inputs.task.value = 4
    form.inputs.max_steps.value = 80
    assert (
        "--task 4" in form.code.value
        and "--condition no_flip" in form.code.value
        and "--max-steps 80" in form.code.value
    )
    form.inputs.suite.value = "libero_10"
    assert form.inputs.spec == EpisodeSpec("libero_10", 0, conditions=("no_flip",))
    assert "--max-steps" not in form.code.value


def test_a_contradiction_is_told_at_once_and_cannot_be_run(form):
    form.inputs.conditions["no_flip"].value = form.inputs.conditions["flip_only"].value = True
    assert form.start_button.disabled
    assert "both change orientation" in form.status.value
    form.start()
    assert form.episodes == []
    form.inputs.conditions["flip_only"].value = False
    assert not form.start_button.disabled
    assert "both change" not in form.status.value


def test_the_checkpoint_is_asked_for_only_where_there_is_one(form):
    assert form.inputs.checkpoint.layout.display == "none"
    assert form.inputs.suite.layout.display is form.inputs.task.layout.display is None, (
        "a layout that is shared hides the others too"
    )
    form.inputs.policy.value = "openvla"
    assert form.inputs.checkpoint.layout.display is None
    assert form.inputs.spec.checkpoint == inputs.CHECKPOINT
    form.inputs.address.value = "http://127.0.0.1:9"
    form.inputs.policy.value = "remote"
    assert form.inputs.checkpoint.layout.display == "none"
    assert form.inputs.address.layout.display is None
    assert form.inputs.spec.checkpoint == "http://127.0.0.1:9"
    assert "No policy server answers" in form.status.value and form.start_button.disabled


def test_running_shows_progress_pictures_verdict_and_both_runs(form):
    shown = []
    form.pictures.layout.observe(lambda change: shown.append(change["new"]), "display")
    form.start()
    form.episodes[-1].wait(60)
    assert shown == [None, "none"], "live pictures while it runs; then the player takes their place"
    assert (form.progress.value, form.progress.max) == (6, 280)
    assert "Success after 6 steps; the gripper first closed at step 2" in form.status.value
    assert form.camera.value[:2] == form.seen.value[:2] == b"\xff\xd8"
    assert not form.start_button.disabled and form.stop_button.disabled
    assert "002" in form.code.value
    form.start()
    form.episodes[-1].wait(60)
    assert form.result.children[0].value == "001|002"
    form.together.value = False
    assert form.result.children[0].value == "002"


def test_the_form_tells_an_error_in_one_line(tmp_path):
    with live.Session(
        lambda spec: FakePolicy(error=TutorialError("The <GPU> is full.")), FakeSimulator
    ) as session:
        form = lab.Form(tmp_path, session)
        form.start()
        form.episodes[-1].wait(60)
    assert "Cannot run:" in form.status.value and "The &lt;GPU&gt; is full." in form.status.value
    assert not form.start_button.disabled and form.result.children == ()


def test_the_stop_button_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(lab_form, "show_player", lambda episodes: ipywidgets.HTML())
    gate = threading.Semaphore(2)
    with live.Session(lambda spec: FakePolicy(gate), FakeSimulator) as session:
        form = lab.Form(tmp_path, session)
        form.start()
        while form.episodes[-1].steps < 2:
            pass
        form.start()
        assert len(form.episodes) == 1, "a second run waits for the first"
        form.stop()
        gate.release(10)
        form.episodes[-1].wait(60)
    assert "Incomplete after " in form.status.value


def test_suites_that_the_policy_knows_come_first_and_others_say_so(form):
    def names():
        return [name for _, name in form.inputs.suite.options]

    others = [text for text, _ in form.inputs.suite.options if "mini was not trained on it" in text]
    known = names()[: len(names()) - len(others)]
    assert set(known) >= {"libero_object", "libero_object_swap"} and len(others) > 10
    assert all(name.startswith("libero_object") for name in known)
    assert "libero_mine" not in names(), "without a step limit it cannot run"
    form.inputs.suite.value = "libero_goal_swap"
    form.inputs.task.value = 3
    form.inputs.max_steps.value = 70
    form.inputs.policy.value = "expert"
    assert form.inputs.spec == EpisodeSpec("libero_goal_swap", 3, policy="expert", max_steps=70)
    assert all(text == name for text, name in form.inputs.suite.options)


def runs(form, *settings):
    for given in settings:
        for field, value in given.items():
            getattr(form.inputs, field).value = value
        form.start()
        form.episodes[-1].wait(60)


def test_runs_that_cannot_be_compared_say_why_in_words(form):
    runs(form, {}, {})
    assert len(form.result.children) == 1, "nothing to say of two equal runs"
    runs(form, {"max_steps": 4, "init": 2})
    note = form.result.children[0].value
    assert "The step limits differ: run 002 280 and run 003 4." in note
    assert "differ in more than conditions: initial state." in note
    form.together.value = False
    assert len(form.result.children) == 1


def test_a_stopped_run_is_named_in_the_comparison_and_equal_settings_have_two_labels(form):
    runs(form, {}, {})
    one, other = form.episodes
    assert lab_form.label(one) == "Run 001: published settings"
    assert lab_form.label(one) != lab_form.label(other)
    other.state, other.steps = "stopped", 7
    assert lab_form.label(other) == "Run 002: published settings, stopped at step 7"
    said = lab_form.compared(one, other)
    assert said.startswith("Run 002 was stopped after 7 steps") and "unknown" in said


def test_folders_are_counted_on(tmp_path):
    (tmp_path / "007").mkdir()
    (tmp_path / "007/episode.json").write_text("{}")
    assert lab_form._next_folder(tmp_path) == tmp_path / "008"
    assert lab_form._next_folder(Path("nowhere")) == Path("nowhere/001")
