"""One policy, several askers."""

import multiprocessing as mp
import threading

import numpy as np

from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.prompt import Prompt
from vla_tutorial.sweep.remote_policy import RemotePolicy, received, serve
from vla_tutorial.sweep.shared_picture import SHAPE, SharedPicture


class Brightness:
    """Answers with the picture's first value, and remembers batch sizes."""

    name, privileged, statistics, provenance = "brightness", False, {}, {}

    def __init__(self):
        self.batches = []

    def predict(self, batch):
        self.batches.append(len(batch))
        return np.array([[item.pixels[0, 0, 0]] * 7 for item in batch])


def test_everyone_gets_the_own_answer():
    policy, pairs = Brightness(), [mp.Pipe() for _ in range(4)]
    answers = {}

    def ask(k, connection):
        remote = RemotePolicy(connection, "brightness", {}, {})
        answers[k] = [
            int(
                remote.predict(
                    [PolicyInput(np.full((2, 2, 3), k * 10 + i, np.uint8), Prompt("x"))]
                )[0, 0]
            )
            for i in range(5)
        ]
        remote.close()

    threads = [threading.Thread(target=ask, args=(k, there)) for k, (_, there) in enumerate(pairs)]
    for thread in threads:
        thread.start()
    serve(policy, [here for here, _ in pairs], most=3)
    assert answers == {k: [k * 10 + i for i in range(5)] for k in range(4)}
    assert sum(policy.batches) == 20
    assert max(policy.batches) <= 4


def _draw(slot, connection):
    """The other process: ask about one picture, about two, and about one of another size."""
    remote = RemotePolicy(connection, "brightness", {}, {}, slot)
    pictures = [np.full(SHAPE, k, np.uint8) for k in (7, 8)]
    remote.predict([PolicyInput(pictures[0], Prompt("x"))])
    remote.predict([PolicyInput(p, Prompt("x")) for p in pictures])
    remote.predict([PolicyInput(np.full((2, 2, 3), 9, np.uint8), Prompt("x"))])


def test_a_single_picture_stays_in_memory_that_both_processes_see():
    slot, (here, there) = SharedPicture(), mp.Pipe()
    process = mp.get_context("spawn").Process(target=_draw, args=(slot, there))
    process.start()
    seen, sent = [], []
    for _ in range(3):
        message = here.recv()
        sent.append([pixels is not None for pixels, _ in message])
        seen.append([int(item.pixels[0, 0, 0]) for item in received(message, slot)])
        here.send(np.zeros((len(message), 7), np.int64))
    process.join()
    assert seen == [[7], [7, 8], [9]]
    assert sent == [[False], [True, True], [True]]
