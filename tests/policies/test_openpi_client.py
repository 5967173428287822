"""The client of openpi's servers, against a server that packs arrays as openpi's package does."""

import contextlib
import threading
import time

import numpy as np
import pytest

from vla_tutorial import actions
from vla_tutorial.errors import TutorialError
from vla_tutorial.pixels import SIZE
from vla_tutorial.policies import PolicyInput, PolicyUnreachable, load_policy
from vla_tutorial.policies.base import own_replan_steps
from vla_tutorial.policies.openpi import OpenPiPolicy
from vla_tutorial.prompt import Prompt
from vla_tutorial.spec import EpisodeSpec

msgpack = pytest.importorskip("msgpack", reason="the extra dev is not installed")
pytest.importorskip("websockets", reason="the extra serve is not installed")

from websockets.sync.server import serve  # noqa: E402

CHUNK = 8


def pack(value):
    if isinstance(value, np.ndarray):
        return {
            b"__ndarray__": True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": value.shape,
        }
    return value


def unpack(entry):
    if b"__ndarray__" in entry:
        return np.ndarray(entry[b"shape"], np.dtype(entry[b"dtype"]), entry[b"data"])
    return entry


class Server:
    """Metadata first, then a chunk for each observation, whose x tells the picture's mean."""

    def __init__(self, width=7):
        self.seen, self.headers, self.width, self.fault = [], [], width, None

    def __call__(self, socket):
        self.headers.append(socket.request.headers.get("Authorization"))
        socket.send(msgpack.packb({"action_horizon": CHUNK, "blob": b"\x00"}))
        with contextlib.suppress(Exception):
            for message in socket:
                seen = msgpack.unpackb(message, object_hook=unpack)
                self.seen.append(seen)
                if self.fault == "error":
                    socket.send("Traceback: it broke")
                    return
                if self.fault == "drop":
                    self.fault = None
                    return
                chunk = np.zeros((CHUNK, self.width))
                chunk[:, 0] = seen["observation/image"].mean() / 255
                chunk[:, 1] = np.arange(CHUNK) / 10
                chunk[:, 6] = 1
                answer = {"actions": chunk, "server_timing": {"infer_ms": 1.0}}
                if self.fault == "no actions":
                    answer = {"other": 1}
                socket.send(msgpack.packb(answer, default=pack))


@contextlib.contextmanager
def serving(handler, port=0):
    server = serve(handler, "127.0.0.1", port, compression=None, max_size=None)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join()


def an_input(level):
    picture = np.full((SIZE, SIZE, 3), level, np.uint8)
    return PolicyInput(picture, Prompt("pick up the milk"), None, np.arange(8.0), picture + 1)


def test_what_it_sends_and_gets(monkeypatch):
    monkeypatch.setenv("VLA_TUTORIAL_TOKEN", "secret")
    handler = Server()
    with serving(handler) as port:
        policy = load_policy("openpi", f"http://127.0.0.1:{port}")
        answer = policy.predict([an_input(51), an_input(102)])
        policy.close()
    seen = handler.seen[-1]
    assert seen["prompt"] == "pick up the milk"
    assert (
        seen["observation/image"].shape == (SIZE, SIZE, 3)
        and seen["observation/image"][0, 0, 0] == 102
    )
    assert seen["observation/wrist_image"][0, 0, 0] == 103
    assert seen["observation/state"].tolist() == list(range(8))
    assert handler.headers == ["Api-Key secret"]
    assert answer.shape == (2, CHUNK, 7)
    sent = actions.to_libero(answer)
    assert np.allclose(sent[:, 0, 0], [0.2, 0.4]) and np.allclose(
        sent[0, :, 1], np.arange(CHUNK) / 10
    )
    assert (sent[..., 6] == 1).all()
    assert policy.provenance["chunk"] == CHUNK and own_replan_steps(policy) == 5
    assert policy.provenance["server"] == {"action_horizon": CHUNK, "blob": "\x00"}


def test_a_dropped_connection_is_made_again_and_a_dead_server_is_an_error():
    handler = Server(width=32)
    with serving(handler) as port:
        policy = OpenPiPolicy(f"ws://127.0.0.1:{port}", patience=30)
        handler.fault = "drop"
        assert policy.predict([an_input(51)])[0, 0, 0] == pytest.approx(0.2)
        assert len(handler.headers) == 2
    policy._patience = 1.0
    policy.close()
    started = time.monotonic()
    with pytest.raises(PolicyUnreachable, match="gave no answer in 1 s"):
        policy.predict([an_input(51)])
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("fault", "words"), [("error", "it broke"), ("no actions", "no actions. It has: other")]
)
def test_a_servers_errors_are_told(fault, words):
    handler = Server()
    with serving(handler) as port:
        policy = OpenPiPolicy(f"ws://127.0.0.1:{port}")
        handler.fault = fault
        with pytest.raises(TutorialError, match=words):
            policy.predict([an_input(0)])
        policy.close()


def test_our_own_server_answers_it():
    """`vla-tutorial serve` speaks the same protocol: the chunk is its one action, repeated."""
    pytest.importorskip("starlette", reason="the extra serve is not installed")
    from vla_tutorial.serve import Service, listen, make_app, make_server

    class Still:
        name, privileged, provenance = "still", False, {"device": "a GPU"}
        statistics = {"libero_object": actions.embedded_statistics()["libero_object"]}  # noqa: RUF012

        def predict(self, batch):
            return np.full((len(batch), 7), 31800)

    service = Service(Still(), None, None, None)
    server = make_server(make_app(service), service)
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            policy = OpenPiPolicy(f"http://127.0.0.1:{port}/openpi?chunk=3")
            answer = policy.predict([an_input(0)])
        finally:
            server.should_exit = True
            thread.join()
    policy.close()
    statistics = Still.statistics["libero_object"]
    wanted = actions.to_libero(actions.decode(np.full(7, 31800), statistics))
    assert answer.shape == (1, 3, 7)
    assert np.allclose(actions.to_libero(answer)[0], wanted)


def test_addresses_and_wiring():
    with pytest.raises(TutorialError, match="not the address of a server"):
        load_policy("openpi", "192.168.1.5")
    with pytest.raises(TutorialError, match="needs --url"):
        load_policy("openpi")
    with pytest.raises(TutorialError, match="No openpi server answers"):
        OpenPiPolicy("ws://127.0.0.1:9")
    wiring, _ = EpisodeSpec(policy="openpi", checkpoint="ws://x:1").settings()
    assert (wiring.jpeg, wiring.center_crop, wiring.prompt_template) == (
        False,
        False,
        "{instruction}",
    )
