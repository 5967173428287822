"""The client: it tries again, checks whose answer it has, and then says that nobody answers."""

import contextlib
import http.server
import threading
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from serve_fakes import KEY, StandIn, an_input, expected, picture, serving
from sweep_fakes import Follow

from vla_tutorial.episodes import read_sweep
from vla_tutorial.errors import TutorialError
from vla_tutorial.lab.live import Session
from vla_tutorial.lab.live import run as lab_run
from vla_tutorial.policies import PolicyUnreachable, load_policy, remote, wire
from vla_tutorial.policies.remote import RemotePolicy
from vla_tutorial.provenance import weights_hash
from vla_tutorial.spec import EpisodeSpec
from vla_tutorial.sweep import LocalEngine, SweepPlan, run_sweep

INFO = msgspec.msgpack.encode(wire.ServerInfo.of("made-up", {}, {"device": "cpu"}, "w"))


@contextlib.contextmanager
def made_up_server(answer):
    """A server whose `answer(number, ask)` gives (status, body, headers), or None to hang up."""
    found = SimpleNamespace(asked=0)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.say(200, INFO, {})

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            given = answer(found.asked, msgspec.msgpack.decode(body, type=wire.Ask))
            found.asked += 1
            if given is None:
                self.close_connection = True
                self.connection.close()
                return
            self.say(*given)

        def say(self, status, body, headers):
            self.send_response(status)
            for name, value in {"Content-Length": len(body), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)
            if headers.get("Connection") == "close":
                self.close_connection = True

        def log_message(self, *_):
            pass

        def handle_one_request(self):
            with contextlib.suppress(OSError, ValueError):
                super().handle_one_request()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.url = f"http://127.0.0.1:{server.server_port}"
        yield found
        server.shutdown()


def right(ask, other_id=None):
    rows = [[31900 + len(ask.inputs)] * 7] * len(ask.inputs)
    return 200, msgspec.msgpack.encode(wire.Answer(other_id or ask.id, rows)), {}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.01))
    monkeypatch.setattr(remote, "PROBES", 1)


def trouble(number, ask):
    """First all that can go wrong, then the answer."""
    busy = 503, b'{"detail": "The server is full."}', {"Retry-After": "0.01"}
    cases = [
        right(ask),
        None,
        busy,
        (429, b"{}", {"Retry-After": "soon"}),
        (502, b"<html>", {}),
        (500, b"The actor died unexpectedly: Ray Serve's proxy says so.", {}),
        right(ask, "somebody-else"),
        None,
    ]
    return cases[number] if number < len(cases) else right(ask)


def test_it_tries_again_until_the_answer_is_its_own():
    with made_up_server(trouble) as server:
        policy = RemotePolicy(server.url)
        tokens = policy.predict([an_input(0), an_input(1)])
        assert (tokens == 31902).all() and tokens.shape == (2, 7)
        assert server.asked == 9
        many = policy.predict([an_input(0)] * (wire.MAX_INPUTS + 3))
        assert many[:, 0].tolist() == [31900 + wire.MAX_INPUTS] * wire.MAX_INPUTS + [31903] * 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda number, ask: right(ask, "somebody-else"), "another request's"),
        (lambda number, ask: (503, b'{"detail": "The server is full."}', {}), "server is full"),
        (lambda number, ask: None, "no answer in"),
    ],
)
def test_at_last_it_says_that_nobody_answers(answer, says):
    def first_fine(number, ask):
        return right(ask) if number == 0 else answer(number, ask)

    with made_up_server(first_fine) as server:
        policy = RemotePolicy(server.url, patience=0.3)
        with pytest.raises(PolicyUnreachable, match=says):
            policy.predict([an_input(0)])
        assert server.asked > 3


@pytest.mark.parametrize("part", [b"", b"\x83"])
def test_an_answer_that_breaks_off_is_asked_for_again(part):
    """As where a server dies after the head of its answer."""

    def answer(number, ask):
        if number != 1:
            return right(ask)
        return 200, part, {"Content-Length": 500, "Connection": "close"}

    with made_up_server(answer) as server:
        policy = RemotePolicy(server.url)
        policy.predict([an_input(0)])
        assert server.asked > 2


@pytest.mark.parametrize("status", [401, 413, 422, 500])
def test_what_the_server_refuses_is_not_asked_again(status):
    def answer(number, ask):
        sentence = b'{"detail": "That is \\u001b[2J wrong."}'
        return right(ask) if number == 0 else (status, sentence, {})

    with made_up_server(answer) as server:
        policy = RemotePolicy(server.url)
        with pytest.raises(TutorialError, match=f"refuses: .*status {status}") as e:
            policy.predict([an_input(0)])
        assert "\x1b" not in str(e.value) and not isinstance(e.value, PolicyUnreachable)
        assert server.asked == 2


@pytest.mark.parametrize("url", ["", "x", "127.0.0.1:8000", "ftp://x", "http://", "http://x:99999"])
def test_an_address_that_is_none(url):
    with pytest.raises(TutorialError, match="http://"):
        load_policy("remote", url)


def test_nobody_there_and_options_that_a_server_has_itself():
    with pytest.raises(TutorialError, match="No policy server answers"):
        load_policy("remote", "http://127.0.0.1:9")
    with pytest.raises(TutorialError, match="omit --device"):
        load_policy("remote", "http://127.0.0.1:9", device="cuda")


def test_the_record_says_what_serves(tmp_path, read_json):
    """A rollout of the lab; the simulator is the sweeps' stand-in."""
    from sweep_fakes import Fake

    def build(suite, task, camera_size, *_own):
        return Fake(suite, task, camera_size)

    with serving(StandIn()) as server, Session(build=build) as session:
        result = lab_run(
            tmp_path / "episode", session, policy="remote", checkpoint=server.url, max_steps=8
        )
        assert result is not None and result.success is not None
        policy = read_json(tmp_path / "episode/episode.json")["policy"]
        assert policy["name"] == "stand-in" and policy["device"] == "a GPU"
        assert policy["served_at"] == server.url and policy["latency_ms"] > 0
        served = load_policy("remote", server.url)
        assert weights_hash(served) == policy["weights"] == weights_hash(StandIn())
        served.close()
        spec = EpisodeSpec(policy="remote", checkpoint=server.url)
        assert f"--url {server.url}" in spec.command(tmp_path)


def test_a_server_that_goes_makes_errors_and_never_failures(tmp_path, monkeypatch):
    """A sweep with real workers: what the server answered counts, the rest is errors, and resumes."""
    monkeypatch.setenv("VLA_TUTORIAL_SIMULATOR", "sweep_fakes:Fake")
    monkeypatch.setenv("PYTHONPATH", "tests")
    monkeypatch.syspath_prepend("tests")
    plan = SweepPlan(EpisodeSpec(KEY, policy="follow", max_steps=12), (0, 1), (0, 1))
    follow = Follow()

    def served(policy):
        return run_sweep(plan, tmp_path / "sweep", LocalEngine(policy, 2), 2)

    def answer(number, ask):
        if number > 25:
            return None
        inputs = [wire.decode_picture(item.picture, item.form) for item in ask.inputs]
        rows = follow.predict([SimpleNamespace(pixels=pixels) for pixels in inputs]).tolist()
        return 200, msgspec.msgpack.encode(wire.Answer(ask.id, rows)), {}

    with made_up_server(answer) as server:
        policy = RemotePolicy(server.url, patience=0.2)
        policy.statistics = follow.statistics
        progress = served(policy)
    assert progress.outcomes["error"] > 0
    sweep = read_sweep(tmp_path / "sweep")
    broken = [episode for episode in sweep.episodes if episode.outcome == "error"]
    assert broken and all("gave no answer" in episode.error for episode in broken)
    whole = run_sweep(plan, tmp_path / "whole", LocalEngine(Follow(), 2), 2)
    done = {e.key: e.outcome for e in read_sweep(tmp_path / "whole").episodes}
    for episode in sweep.episodes:
        assert episode.outcome in ("error", done[episode.key])
    assert whole.outcomes["error"] == 0
    with made_up_server(lambda number, ask: answer(0, ask)) as server:
        policy = RemotePolicy(server.url, patience=5)
        policy.statistics = follow.statistics
        progress = served(policy)
    assert progress.outcomes == whole.outcomes, "the same command runs the errors again"


def test_a_picture_comes_through_as_it_was():
    for form in ("raw", "png"):
        sent = picture(3)
        assert (wire.decode_picture(wire.encode_picture(sent, form), form) == sent).all()
    smooth = np.repeat(np.linspace(0, 255, 224).astype(np.uint8)[:, None, None], 224, 1)
    smooth = np.repeat(smooth, 3, 2)
    lossy = wire.decode_picture(wire.encode_picture(smooth, "jpeg"), "jpeg")
    assert np.abs(lossy.astype(int) - smooth).max() < 8
    assert expected(sent, "x").shape == (7,)
