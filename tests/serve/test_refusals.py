"""Bad input and attack: a status and a sentence for each, and nothing lost for the others."""

import base64
import contextlib
import json
import socket
import threading
import time
import zlib

import msgspec
import numpy as np
import pytest
import requests
from serve_fakes import INSTRUCTION, StandIn, detail, picture, serving, wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from vla_tutorial.cli import options
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies import load_policy, wire
from vla_tutorial.policies.remote import TOKEN, RemotePolicy, Server
from vla_tutorial.serve import Access, Limits, Service, Settings, check_exposure, listen
from vla_tutorial.serve.arrays import json_array, packed_array

LIMITS = Limits(body_bytes=2**20, read_seconds=2, idle_seconds=2, sessions=3, waiting=200)


@pytest.fixture(scope="module")
def server():
    with serving(limits=LIMITS) as found:
        yield found


def act(server, **fields):
    body = {"image": json_array(picture(0)), "instruction": INSTRUCTION, **fields}
    return requests.post(f"{server.url}/act", json=body, timeout=60)


def still_answers(server):
    """Whether somebody else is answered, and rightly."""
    return act(server).status_code == 200


def png_of(width, height):
    """A PNG file that claims a size, and ends where its pixels begin."""
    head = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return (
        b"\x89PNG\r\n\x1a\n"
        + (13).to_bytes(4, "big")
        + head
        + zlib.crc32(head).to_bytes(4, "big")
        + b"\0\0\1\0IDATx"
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"instruction": "x" * 10_000}, "10000 characters; expected at most 1000"),
        ({"instruction": 3}, "instruction"),
        ({"image": None}, "image"),
        ({"image": json_array(np.zeros((99, 99, 3)))}, "uint8 RGB; got (99, 99, 3) float64"),
        ({"image": json_array(np.full((9, 9, 3), np.nan))}, "uint8"),
        ({"image": json_array(np.zeros((224, 224), np.uint8))}, "got (224, 224) uint8"),
        ({"image": json_array(np.zeros((0, 9, 3), np.uint8))}, "got (0, 9, 3)"),
        ({"image": json_array(np.zeros((2000, 2, 3), np.uint8))}, "1 to 1024"),
        ({"image": {**json_array(picture(0)), "shape": [9, 9, 3]}}, "has 243 bytes; got 150528"),
        ({"image": {**json_array(picture(0)), "shape": [-1, 3]}}, "shape [-1, 3]"),
        ({"image": {**json_array(picture(0)), "dtype": "|O"}}, "dtype '|O'"),
        ({"image": {**json_array(picture(0)), "dtype": [["a", "|u1"]]}}, "expected numbers"),
        ({"image": {"__numpy__": "§", "dtype": "|u1", "shape": [1, 1, 3]}}, "base64"),
        ({"image": {"pickle": "gASV"}}, "pickle is not an array"),
        ({"image": "bm9uZQ=="}, "not a PNG or JPEG file"),
        ({"image": base64.b64encode(png_of(60_000, 60_000)).decode()}, "1 to 1024 pixels"),
        ({"image": base64.b64encode(png_of(100, 100)).decode()}, "damaged"),
        ({"unnorm_key": "libero_90"}, "Unknown unnorm key 'libero_90'"),
        ({"wiring": "sideways"}, "Expected finished, upright, published"),
        ({"wiring": {"orientation": "sideways"}}, "wiring"),
        ({"wiring": {"gripper": "inverted"}}, "gripper"),
        ({"wiring": {"prompt_template": "{instruction:>999999999}"}}, "no braces"),
        ({"wiring": {"prompt_template": "{instruction.__class__}"}}, "no braces"),
        ({"wiring": {"prompt_template": "nothing in it"}}, "must have {instruction}"),
    ],
)
def test_what_is_wrong_is_said(server, fields, says):
    answer = act(server, **fields)
    assert answer.status_code == 422, answer.text
    assert says in detail(answer)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"NaN", b"\xff" * 100, b"[" * 100_000])
def test_what_is_no_request_is_said(server, body):
    for path in ("/act", wire.PATH):
        answer = requests.post(server.url + path, data=body, timeout=60)
        assert answer.status_code == 422 and detail(answer).startswith("The request")
    assert still_answers(server)


def test_the_policys_own_error_names_no_file(server):
    answer = act(server, instruction="explode")
    assert answer.status_code == 500 and "RuntimeError" in detail(answer)
    assert "secret" not in answer.text


def test_an_old_client_can_have_the_old_errors():
    with serving(settings=Settings(compatible_errors=True)) as found:
        answer = act(found, instruction=3)
        assert (answer.status_code, answer.json()) == (200, "error")
        assert still_answers(found)


def test_too_large_is_said_before_it_is_held(server):
    answer = requests.post(f"{server.url}/act", data=b"x" * 3 * 2**20, timeout=60)
    assert answer.status_code == 413 and "more than 1 MiB" in detail(answer)
    assert still_answers(server)


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /act HT", b"POST /act HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"],
)
def test_a_slow_client_is_told_and_let_go(server, sent):
    """Slow-loris: a head, or a body, that never ends."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(sent)
        assert still_answers(server)
        said = b""
        while chunk := connection.recv(4096):
            said += chunk
    assert said.startswith(b"HTTP/1.1 408") and b"detail" in said


def test_a_client_that_hangs_up_half_way_harms_nobody(server):
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(b"POST /act HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
    assert still_answers(server)


def test_a_thousand_connections_at_once(server):
    """Each is answered or refused with a sentence; none is lost."""
    from vla_tutorial.serve import raise_file_limit

    raise_file_limit()
    body = json.dumps({"image": json_array(picture(0)), "instruction": INSTRUCTION}).encode()
    head = b"POST /act HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    small = b'{"image": "", "instruction": "x"}'
    connections = [
        socket.create_connection(("127.0.0.1", server.port), timeout=120) for _ in range(1000)
    ]
    statuses = []

    def read(connection):
        said = b""
        while chunk := connection.recv(65536):
            said += chunk
        statuses.append((said[9:12], b"detail" in said))

    for number, connection in enumerate(connections):
        sent = body if number % 50 == 0 else small
        connection.sendall(head % len(sent) + sent)
    threads = [threading.Thread(target=read, args=(c,)) for c in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for connection in connections:
        connection.close()
    assert len(statuses) == 1000
    known = {(b"200", False), (b"422", True), (b"429", True), (b"503", True), (b"408", True)}
    assert set(statuses) <= known, set(statuses)
    assert still_answers(server)


def test_websockets_have_limits_too(server):
    def denied(path, **options):
        with pytest.raises(InvalidStatus) as e, connect(f"ws://{server.host}{path}", **options):
            pass
        return e.value.response.status_code, json.loads(e.value.response.body)["detail"]

    assert denied("/?chunk=many")[0] == 422
    with connect(f"ws://{server.host}") as one, connect(f"ws://{server.host}") as two:
        one.recv()
        one.send(b"no MessagePack")
        assert one.recv().startswith("The observation")
        one.send(msgspec.msgpack.encode({"prompt": "x"}))
        assert "has no observation/image" in one.recv()
        one.send("text")
        two.recv()
        two.send(b"x" * 2 * 2**20)
        with connect(f"ws://{server.host}/vla-eval") as silent:
            assert silent.recv_messages is not None
            for closing in (one, two, silent):
                with pytest.raises(ConnectionClosed):
                    closing.recv(timeout=60)
            assert one.close_code == 1003 and two.close_code == 1009
            assert silent.close_code == 1001, "it was idle"
    several = [connect(f"ws://{server.host}") for _ in range(3)]
    assert denied("/") == (503, "The server has 3 websockets open already.")
    for opened in several:
        opened.close()
    assert still_answers(server)


def test_a_prompt_of_10000_characters_over_every_protocol(server):
    long, image = "x" * 10_000, packed_array(picture(0), text_keys=False)
    item = {"picture": picture(0).tobytes(), "form": "raw", "prompt": long}
    body = msgspec.msgpack.encode({"id": "a", "client": "b", "inputs": [item]})
    answer = requests.post(server.url + wire.PATH, body, timeout=60)
    assert answer.status_code == 422 and "1000" in detail(answer)
    assert "at most 1000" in detail(act(server, instruction=long))
    with connect(f"ws://{server.host}") as opened:
        opened.recv()
        opened.send(msgspec.msgpack.encode({"observation/image": image, "prompt": long}))
        assert "at most 1000" in opened.recv(timeout=60)
    with connect(f"ws://{server.host}/vla-eval") as opened:
        asked = {"images": {"agentview": image}, "task_description": long}
        opened.send(vla_eval_message("observation", asked))
        said = msgspec.msgpack.decode(opened.recv(timeout=60))
        assert said["type"] == "error" and "at most 1000" in said["payload"]["error"]
        opened.send(vla_eval_message("hello", {"protocol_version": 2}))
        assert "speaks version 2" in opened.recv(timeout=60)
    assert still_answers(server)


def vla_eval_message(kind, payload):
    return msgspec.msgpack.encode({"type": kind, "payload": payload, "seq": 1, "timestamp": 0.0})


def test_a_message_whose_end_never_comes_is_let_go(server):
    """Slow-loris on a websocket: bytes that trickle in are no sign of life."""
    with connect(f"ws://{server.host}", ping_interval=None, close_timeout=1) as opened:
        opened.recv()
        # A masked binary frame of 100 bytes, of which one comes every 0.2 s.
        opened.socket.sendall(b"\x82\xe4\0\0\0\0")
        ends = time.monotonic() + 20
        with contextlib.suppress(OSError):
            while time.monotonic() < ends and not opened.close_code:
                opened.socket.sendall(b"x")
                time.sleep(0.2)
        assert opened.close_code == 1001
    assert still_answers(server)


def test_messages_on_websockets_count_among_what_is_held():
    """Whether whole or half: two sessions' half messages leave no room for a third, nor for a request."""
    limits = Limits(body_bytes=2**20, held_bytes=2_700_000, idle_seconds=60)
    with contextlib.ExitStack() as stack, serving(limits=limits) as found:
        opened = [stack.enter_context(connect(f"ws://{found.host}")) for _ in range(4)]
        for one in opened:
            one.recv()
        # Masked binary frames of 1 MiB whose last bytes do not come.
        half = b"\x82\xff" + (2**20).to_bytes(8, "big") + bytes(4 + 900_000)
        for one in opened[:2]:
            one.socket.sendall(half)
        wait_until(lambda: found.service.held.size > 1_800_000)
        assert still_answers(found)
        opened[2].socket.sendall(half)
        with pytest.raises(ConnectionClosed):
            opened[2].recv(timeout=60)
        assert opened[2].close_code == 1013 and "too many" in opened[2].close_reason
        with contextlib.suppress(ConnectionClosed):
            opened[3].send(bytes(2**20))
        with pytest.raises(ConnectionClosed):
            opened[3].recv(timeout=60)
        answer = requests.post(f"{found.url}/act", data=bytes(950_000), timeout=60)
        assert answer.status_code == 503 and "too many" in detail(answer)
        for one in opened[:2]:
            one.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: found.service.held.size == 0)
        assert still_answers(found)


def test_a_message_counts_until_it_is_answered():
    policy = StandIn(seconds=1)
    with serving(policy) as found, connect(f"ws://{found.host}") as opened:
        opened.recv()
        image = packed_array(picture(0), text_keys=False)
        opened.send(msgspec.msgpack.encode({"observation/image": image, "prompt": "x"}))
        wait_until(lambda: policy.entered)
        assert 150_000 < found.service.held.size < 152_000
        opened.recv(timeout=60)
        wait_until(lambda: found.service.held.size == 0)


def test_a_client_that_reads_no_answer_is_let_go():
    """Its answers of some 5 KB pile up until the system takes no more."""
    limits = Limits(write_seconds=1, per_second=1e6, idle_seconds=3600)
    head = b"GET /?chunk=50 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    head += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    image = packed_array(np.zeros((1, 1, 3), np.uint8), text_keys=False)
    asked = {"observation/image": image, "prompt": "x", "wiring": "finished"}
    message = msgspec.msgpack.encode(asked)
    frame = bytes([0x82, 0x80 + len(message)]) + bytes(4) + message
    with serving(limits=limits) as found, socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.settimeout(0.5)
        silent.connect(("127.0.0.1", found.port))
        silent.sendall(head)
        wait_until(lambda: found.service.traffic.sessions == 1)
        with contextlib.suppress(OSError):
            for _ in range(100_000):
                silent.sendall(frame)
        wait_until(lambda: found.service.traffic.sessions == 0, 30)
        wait_until(lambda: found.service.held.size == 0, 30)
        assert still_answers(found)


def test_whoever_asks_too_often_is_told_when_to_come_again():
    with serving(limits=Limits(per_second=3)) as found:
        answers = [act(found) for _ in range(5)]
        late = next(answer for answer in answers if answer.status_code != 200)
        assert late.status_code == 429 and 0 < float(late.headers["Retry-After"]) <= 1
        # Our own client waits by itself.
        RemotePolicy(found.url).close()


def test_tokens(tmp_path, monkeypatch):
    path = tmp_path / "tokens.txt"
    path.write_text("# of today\nanna anna-has-this\n\nben ben-has-that\n")
    access = Access.from_file(path)
    monkeypatch.delenv(TOKEN, raising=False)
    with serving(access=access) as found:
        for headers in (
            {},
            {"Authorization": "Bearer wrong-one"},
            {"Authorization": "anna-has-this"},
        ):
            for path_of in ("/act", wire.PATH):
                answer = requests.post(found.url + path_of, headers=headers, timeout=60)
                assert answer.status_code == 401 and "Authorization" in detail(answer)
            for page in ("/status.json", "/metrics", wire.INFO_PATH):
                assert (
                    requests.get(found.url + page, headers=headers, timeout=60).status_code == 401
                )
        assert requests.get(found.url, timeout=60).status_code == 200, "the page holds nothing"
        assert requests.get(f"{found.url}/status.json?token=ben-has-that", timeout=60).ok
        for url in ("/", "/vla-eval"):
            with pytest.raises(InvalidStatus) as e, connect(f"ws://{found.host}{url}"):
                pass
            assert e.value.response.status_code == 401
        headers = {"Authorization": "Api-Key anna-has-this"}
        with connect(f"ws://{found.host}", additional_headers=headers) as opened:
            opened.recv()
        with connect(f"ws://{found.host}/vla-eval?token=anna-has-this"):
            pass
        with pytest.raises(TutorialError, match="There is no token"):
            Server(found.url).info()
        with pytest.raises(TutorialError, match="is not one that this server knows"):
            RemotePolicy(found.url, "not-this-one")
        monkeypatch.setenv(TOKEN, "anna-has-this")
        load_policy("remote", found.url).close()
        names = [client["name"] for client in found.service.traffic.status()["clients"]]
        assert names == ["anna"], "by the name, whatever the connection"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no token"),
        ("short", "not a token of 8 or more"),
        ("a b c-long-enough", "not a token"),
        ("anna the-same-one\nben the-same-one", "repeats a token"),
    ],
)
def test_a_file_of_tokens_that_is_wrong(tmp_path, text, says):
    path = tmp_path / "tokens.txt"
    path.write_text(text)
    with pytest.raises(TutorialError, match=says):
        Access.from_file(path)


def test_nobody_serves_everybody_by_accident():
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        check_exposure(host, Access(), insecure=False)
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(TutorialError, match="--token-file"):
            check_exposure(host, Access(), insecure=False)
        check_exposure(host, Access(), insecure=True)
        check_exposure(host, Access({b"x": "a"}), insecure=False)


def test_an_answer_does_not_wait_for_the_receipt_of_its_head():
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_cannot_be_served():
    with pytest.raises(TutorialError, match="simulator's state"):
        Service(load_policy("expert"))
    away = StandIn()
    away.provenance = {"served_at": "http://there:1"}
    with pytest.raises(TutorialError, match="itself served at http://there:1"):
        Service(away)
    for about in ({"answers": "actions"}, {"chunk": 2}):
        own = StandIn()
        own.provenance = about
        with pytest.raises(TutorialError, match="one action's tokens"):
            Service(own)
    with pytest.raises(TutorialError, match="Unknown unnorm key"):
        Service(StandIn(), settings=Settings(unnorm_key="nobody's"))
    with pytest.raises(TutorialError, match="chunk"):
        Service(StandIn(), settings=Settings(chunk=0))
    with listen("127.0.0.1", 0) as taken, pytest.raises(TutorialError, match="--port"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_the_command_line_keeps_the_token_to_itself(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    words = ["sweep", "--token", "secret", "--url", "http://x", "--token=secret", "--out", "o"]
    assert options.command_line(words) == "vla-tutorial sweep --url http://x --out o"
    for given in (("mini", None, "http://x", None), ("remote", None, None, None)):
        with pytest.raises(TutorialError, match="--url"):
            options.served_at(*given)
    with pytest.raises(TutorialError, match="--checkpoint"):
        options.served_at("remote", "folder", "http://x", None)
    assert options.served_at("mini", "folder", None, None) == "folder"


def test_the_server_is_seen_alive_until_its_policy_is_not():
    policy = StandIn()
    with serving(policy) as found:
        assert requests.get(f"{found.url}/healthz", timeout=60).json() == {"status": "ok"}
        policy.broken = True
        assert [act(found).status_code for _ in range(3)] == [500] * 3
        assert requests.get(f"{found.url}/healthz", timeout=60).status_code == 503
        policy.broken = False
        assert still_answers(found)
        assert requests.get(f"{found.url}/health", timeout=60).ok
        assert requests.get(f"{found.url}/nowhere", timeout=60).status_code == 404
        assert "expected one of" in detail(requests.get(f"{found.url}/act", timeout=60))
