"""The server on Ray Serve: a real cluster of two nodes on this machine, one of which is killed under load."""

import base64
import contextlib
import os
import subprocess
import sys
import threading
from collections import Counter

import msgspec
import numpy as np
import psutil
import pytest

serve = pytest.importorskip("ray.serve", reason="pip install 'vla-tutorial[ray,serve]'")

import ray  # noqa: E402
import requests  # noqa: E402
from ray_nodes import patiently, python_path, two_nodes  # noqa: E402
from serve_fakes import (  # noqa: E402
    KEY,
    Client,
    StandIn,
    all_go_on,
    an_input,
    detail,
    expected,
    picture,
    wait_until,
)
from websockets.exceptions import WebSocketException  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from vla_tutorial import actions, prompt  # noqa: E402
from vla_tutorial.errors import TutorialError  # noqa: E402
from vla_tutorial.policies import load_policy  # noqa: E402
from vla_tutorial.policies.remote import RemotePolicy  # noqa: E402
from vla_tutorial.serve import Access, Limits, Recipe, Settings  # noqa: E402
from vla_tutorial.serve.arrays import json_array, packed_array  # noqa: E402
from vla_tutorial.serve.ray_replicas import APP, Replicas, serving  # noqa: E402
from vla_tutorial.wiring import Wiring  # noqa: E402

STAND_IN = Recipe("serve_fakes:slow", limits=Limits(per_second=10_000))
TWO = Replicas(2, least=2)
QUICK = Replicas(2, busy=1.5, up_seconds=0.5, down_seconds=2.0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        here = os.path.dirname(__file__)
        patch.setenv("PYTHONPATH", python_path(tmp_path_factory.mktemp("without"), here))
        # Ray's own choice is 15, with which a copy hardly starts beside other tests.
        patch.setenv("RAY_worker_niceness", "0")
        # Room for one copy on each.
        with two_nodes(1, 1) as (cluster, second):
            patch.setenv("RAY_ADDRESS", cluster.address)
            yield cluster, second


def copies():
    """How many copies answer now."""
    deployment = serve.status().applications[APP].deployments["policy"]
    return deployment.replica_states.get("RUNNING", 0)


def start(recipe, port=0):
    """Serve with one copy, and stop at once."""
    with serving(recipe, Replicas(1), "127.0.0.1", port):
        pass


def pull_the_plug(nodes, node):
    """kill -9 of all that runs on a node. Left alone, its copies would answer until they miss it."""
    (raylet,) = node.all_processes["raylet"]
    for process in psutil.Process(raylet.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    nodes.remove_node(node, allow_graceful=False)


def everyone_answers(url):
    """Wait until two copies have been met: the stand-in names its process."""
    met = set()

    def both():
        about = requests.get(f"{url}status.json", timeout=30).json()["about"]
        met.add(about["revision"])
        return len(met) == 2

    wait_until(both)


class Asker(threading.Thread):
    """A client that others wrote: it does not try again, and counts what it was told."""

    def __init__(self, url, name):
        super().__init__(name=name)
        self.url, self.told, self.stopping = url, Counter(), False
        self.pictures = [picture(number) for number in range(10)]
        texts = [prompt.build(Wiring(unnorm_key=KEY), name).text] * 10
        self.right = [expected(*pair) for pair in zip(self.pictures, texts, strict=True)]

    @property
    def answers(self):
        return self.told["right"]

    def run(self):
        number = 0
        while not self.stopping:
            try:
                self.told[self.ask(number % 10)] += 1
            except (requests.ConnectionError, WebSocketException, OSError) as e:
                self.told[f"no connection: {type(e).__name__}"] += 1
            except Exception as e:
                self.told[f"unexpected: {e!r:.200}"] += 1
            number += 1


class ByAct(Asker):
    def ask(self, number):
        asked = {"image": json_array(self.pictures[number]), "instruction": self.name}
        answer = requests.post(f"{self.url}act", json=asked, timeout=60)
        if answer.status_code != 200:
            assert answer.status_code in (500, 502, 503) and answer.text.strip()
            return f"status {answer.status_code}"
        found = np.frombuffer(base64.b64decode(answer.json()["__numpy__"]))
        action = actions.decode(self.right[number], StandIn().statistics[KEY])
        return "right" if (found == action).all() else "WRONG"


class ByWebsocket(Asker):
    def run(self):
        self.socket = None
        super().run()
        self.socket.close()

    def ask(self, number):
        if self.socket is None:
            self.socket = connect(self.url.replace("http", "ws"), max_size=None)
            self.socket.recv()
        image = packed_array(self.pictures[number], text_keys=False)
        asked = {"observation/image": image, "prompt": self.name, "wiring": "finished"}
        try:
            self.socket.send(msgspec.msgpack.encode(asked))
            found = msgspec.msgpack.decode(self.socket.recv(timeout=60))["tokens"]
        except (WebSocketException, OSError):
            self.socket = None
            raise
        right = (np.frombuffer(found[b"data"], np.int64) == self.right[number]).all()
        return "right" if right else "WRONG"


def test_a_node_that_dies_under_load(cluster):
    nodes, second = cluster
    with serving(STAND_IN, TWO, "127.0.0.1", 0) as url:
        wait_until(lambda: copies() == 2)
        clients = [Client(url, f"client-{number}") for number in range(4)]
        askers = [ByAct(url, "act-0"), ByAct(url, "act-1"), ByWebsocket(url, "socket-0")]
        askers += [ByWebsocket(url, f"socket-{number}") for number in (1, 2)]
        everyone = [*clients, *askers]
        try:
            for client in everyone:
                client.start()
            all_go_on(everyone)
            everyone_answers(url)
            before = {client.name: client.answers for client in everyone}
            assert sum(node["Alive"] for node in ray.nodes()) == 2
            pull_the_plug(nodes, second)
            wait_until(lambda: copies() == 1)
            all_go_on(everyone)
            patiently(lambda **how: nodes.add_node(num_cpus=1, **how))
            wait_until(lambda: copies() == 2)
            all_go_on(everyone)
        finally:
            for client in everyone:
                client.stopping = True
            for client in everyone:
                client.join()
        after = {client.name: client.answers - before[client.name] for client in everyone}
        print(before, after, [dict(asker.told) for asker in askers])
    assert [client.error for client in clients] == [None] * 4
    assert [client.wrong for client in clients] == [0] * 4
    for asker in askers:
        odd = [what for what in asker.told if what.startswith(("WRONG", "unexpected"))]
        assert not odd, asker.told
    told = Counter()
    for asker in askers:
        told += asker.told
    assert len(told) > 1, "requests were under way at the node that died"


def test_from_none_to_two_and_back(cluster):
    with serving(STAND_IN, QUICK, "127.0.0.1", 0) as url:
        wait_until(lambda: copies() == 0)
        first = Client(url, "first")
        assert copies() == 1, "somebody asked, so there is one again"
        clients = [first, *(Client(url, f"client-{number}") for number in range(5))]
        for client in clients:
            client.start()
        wait_until(lambda: copies() == 2)
        all_go_on(clients)
        for client in clients:
            client.stopping = True
        for client in clients:
            client.join()
            assert client.error is None and client.wrong == 0
        wait_until(lambda: copies() == 0)


def test_the_same_app_with_mini(cluster, monkeypatch, tmp_path):
    """Bit for bit as in process; tokens, limits and a second start are refused as they should be."""
    secret = "a-token-for-this-class"
    (tmp_path / "tokens.txt").write_text(f"ann {secret}\nbob another-token")
    access = Access.from_file(tmp_path / "tokens.txt")
    recipe = Recipe("mini", options={"device": "cpu"}, access=access, settings=Settings(KEY))
    items = [an_input(number, "In: What action?\nOut:") for number in range(3)]
    with serving(recipe, Replicas(1, 1), "127.0.0.1", 0) as url:
        refused = requests.get(f"{url}status.json", timeout=30)
        assert refused.status_code == 401 and "no token" in detail(refused)
        policy = RemotePolicy(url, secret)
        here = load_policy("mini", device="cpu").predict(items)
        assert (policy.predict(items) == here).all() and policy.provenance["device"] == "cpu"
        head = {"Authorization": f"Bearer {secret}"}
        large = requests.post(f"{url}act", bytes(5 * 2**20), headers=head, timeout=60)
        assert large.status_code == 413 and "4 MiB" in detail(large)
        status = requests.get(f"{url}status.json", headers=head, timeout=30).json()
        assert [client["name"] for client in status["clients"]] == ["ann"]
        with pytest.raises(TutorialError, match="on this cluster already"):
            start(recipe)
        with pytest.raises(TutorialError, match="Nothing can listen"):
            start(recipe, int(url.split(":")[2].strip("/")))


def test_a_policy_that_cannot_be_loaded_is_told(cluster):
    recipe = Recipe("mini", checkpoint="/there/is/none", options={"device": "cpu"})
    with pytest.raises(TutorialError, match="/there/is/none"):
        start(recipe)
    with pytest.raises(TutorialError, match="least ≤ most"):
        Replicas(1, least=2)


def test_without_ray_serve_the_command_says_what_to_install():
    code = "import sys; sys.modules['ray.serve'] = None; sys.argv[0] = 'vla-tutorial'; from vla_tutorial.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", "--engine", "ray"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2 and "pip install 'vla-tutorial[ray,serve]'" in done.stderr
