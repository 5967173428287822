"""One policy, several askers."""

import multiprocessing as mp
from functools import partial

import numpy as np
import pytest

from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.prompt import Prompt
from vla_tutorial.sweep.policy_server import PolicyServer, Question
from vla_tutorial.sweep.remote_policy import (
    SHAPE,
    ErrorTaggingPolicy,
    PolicyError,
    SharedPicture,
    ask_through,
    read_question,
)


class Brightness:
    """Answers with the picture's first value, and remembers batch sizes."""

    name, privileged, statistics, provenance = "brightness", False, {}, {}

    def __init__(self):
        self.batches = []

    def predict(self, batch):
        self.batches.append(len(batch))
        return np.array([[item.pixels[0, 0, 0]] * 7 for item in batch])


def ask(server, *values):
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in values]
    question = Question([PolicyInput(picture, Prompt("x")) for picture in pictures])
    server.questions.append(question)
    return question


@pytest.mark.parametrize(("device", "batches"), [("a GPU", [4, 1]), ("cpu", [1] * 5)])
def test_everyone_gets_the_own_answer(device, batches):
    policy = Brightness()
    policy.provenance = {"device": device}
    server = PolicyServer(policy)
    server.batch_seconds = {3: 1.0, 4: 9.0}
    asked = [ask(server, 1), ask(server, 2, 3), ask(server, 4), ask(server, 5)]
    server.answer_next_batch()
    assert not asked[3].answer.done()
    server.answer_next_batch()
    answers = [question.answer.result()[:, 0].tolist() for question in asked]
    assert answers == [[1], [2, 3], [4], [5]]
    assert policy.batches == batches
    assert server.waited > 0 and server.questions == []


def test_the_policys_error_reaches_everyone_who_asked():
    policy = Brightness()
    server = PolicyServer(policy)
    asked = [ask(server, 1), Question([None])]
    server.questions.append(asked[1])
    with pytest.raises(PolicyError, match="NoneType"):
        server.answer_next_batch()
    assert all(isinstance(question.answer.exception(), PolicyError) for question in asked)


def test_an_error_that_explains_itself_comes_without_a_traceback():
    class Wrong(Brightness):
        def predict(self, batch):
            raise TutorialError("The policy answered with shape (7,); expected (1, 7).")

    with pytest.raises(PolicyError, match=r"^The policy answered with shape \(7,\);.*7\)\.$"):
        ErrorTaggingPolicy(Wrong()).predict([])


def _draw(shared, connection):
    """The other process: ask about one picture, about two, and about one of another size."""
    ask = partial(ask_through, connection, shared)
    pictures = [np.full(SHAPE, k, np.uint8) for k in (7, 8)]
    ask([PolicyInput(pictures[0], Prompt("x"))])
    ask([PolicyInput(p, Prompt("x")) for p in pictures])
    ask([PolicyInput(np.full((2, 2, 3), 9, np.uint8), Prompt("x"))])


def test_a_single_picture_stays_in_memory_that_both_processes_see():
    shared, (here, there) = SharedPicture(), mp.Pipe()
    process = mp.get_context("spawn").Process(target=_draw, args=(shared, there))
    process.start()
    seen, sent = [], []
    for _ in range(3):
        message = here.recv()
        sent.append([pixels is not None for pixels, *_ in message])
        seen.append([int(item.pixels[0, 0, 0]) for item in read_question(message, shared)])
        here.send(np.zeros((len(message), 7), np.int64))
    process.join()
    assert seen == [[7], [7, 8], [9]]
    assert sent == [[False], [True, True], [True]]
