"""A policy without a network whose answer can be checked, and servers of it: in a thread, or `python tests/serve/serve_fakes.py PORT [SECONDS]`."""

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import requests

from vla_tutorial.actions import embedded_statistics
from vla_tutorial.policies import PolicyInput
from vla_tutorial.prompt import Prompt

KEY = "libero_object"
INSTRUCTION = "pick up the milk and place it in the basket"


def expected(pixels, text):
    """The stand-in's tokens."""
    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes() + text.encode()).digest()
    return np.frombuffer(digest[:7], np.uint8).astype(np.int64) + 31744


class StandIn:
    """Answers with a hash of picture and prompt, so that another one's answer is seen at once."""

    name, privileged = "stand-in", False

    def __init__(self, seconds=0.0, device="a GPU"):
        self.statistics = {KEY: embedded_statistics()[KEY]}
        self.provenance = {"checkpoint": "none", "revision": None, "device": device}
        self.seconds = seconds
        self.batches, self.entered = [], 0
        self.broken = False

    def predict(self, batch):
        self.entered += 1
        time.sleep(self.seconds)
        self.batches.append(len(batch))
        if self.broken or any("explode" in item.prompt.text for item in batch):
            raise RuntimeError("the policy's own mistake, in /home/secret/file.py")
        return np.array([expected(item.pixels, item.prompt.text) for item in batch])

    def close(self):
        pass


def slow():
    """For `--policy serve_fakes:slow`: requests are under way when a node is killed. It names its process."""
    policy = StandIn(0.02, "cpu")
    policy.provenance["revision"] = str(os.getpid())
    return policy


def picture(number, size=224):
    return np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)


def an_input(number, text="x"):
    return PolicyInput(picture(number), Prompt(text))


@contextlib.contextmanager
def serving(policy=None, access=None, limits=None, settings=None):
    """A real server on a free port of this machine, in a thread."""
    from vla_tutorial.serve import Service, listen, make_app, make_server

    service = Service(policy or StandIn(), access, limits, settings)
    server = make_server(make_app(service), service)
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            found = SimpleNamespace(
                service=service, port=port, host=f"127.0.0.1:{port}", url=f"http://127.0.0.1:{port}"
            )
            wait_for(found.url)
            yield found
        finally:
            server.should_exit = True
            thread.join()


def wait_for(url, seconds=180):
    """Wait until a server answers."""
    ends = time.monotonic() + seconds
    while True:
        try:
            return requests.get(f"{url}/healthz", timeout=10)
        except (requests.ConnectionError, requests.Timeout):
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)


def detail(response):
    """The sentence of an error."""
    return json.loads(response.content)["detail"]


class Client(threading.Thread):
    """Asks and checks until it is told to stop."""

    def __init__(self, url, name):
        super().__init__(name=name)
        # Not at the top: the server's own process needs no client.
        from vla_tutorial.policies.remote import RemotePolicy

        self.policy = RemotePolicy(url, patience=120)
        self.answers = self.wrong = 0
        self.error = None
        self.stopping = False

    def run(self):
        items = [an_input(number, self.name) for number in range(20)]
        right = [expected(item.pixels, item.prompt.text) for item in items]
        try:
            while not self.stopping:
                number = self.answers % len(items)
                found = self.policy.predict([items[number]])[0]
                self.wrong += not (found == right[number]).all()
                self.answers += 1
        except Exception as e:
            self.error = e


def wait_until(condition, seconds=120):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it takes too long"
        time.sleep(0.02)


@contextlib.contextmanager
def at_work(clients):
    """Clients that ask until the block ends."""
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.stopping = True
        for client in clients:
            client.join()


def all_go_on(clients):
    """Wait until each client has more answers."""
    for client in clients:
        before = client.answers
        wait_until(lambda client=client, before=before: client.error or client.answers > before + 3)
        assert client.error is None, f"{client.name}: {client.error}"


def main(port, seconds="0.002"):
    """Serve the stand-in until this process is killed."""
    from vla_tutorial.serve import Service, listen, make_app, make_server, raise_file_limit

    raise_file_limit()
    service = Service(StandIn(float(seconds)))
    with listen("127.0.0.1", int(port)) as listening:
        make_server(make_app(service), service).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
