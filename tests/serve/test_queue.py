"""Turns: everyone once before anyone twice, in the queue and through the whole of the answering."""

import asyncio
from collections import Counter

import numpy as np
import pytest
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from serve_fakes import StandIn, an_input, expected, picture

from vla_tutorial.policies import PolicyInput, PolicyUnreachable
from vla_tutorial.prompt import Prompt
from vla_tutorial.serve import Limits, RateLimiter, Refusal
from vla_tutorial.serve.access import Visitor
from vla_tutorial.serve.answering import Answering
from vla_tutorial.serve.fair_queue import FairQueue
from vla_tutorial.serve.traffic import Answered, Traffic

STEPS = st.lists(st.one_of(st.sampled_from("abcd"), st.integers(1, 5)), max_size=60)
"""A letter is a client that puts an item; a number is a batch of that size."""


@fuzzed()
@given(STEPS)
def test_everyone_has_a_turn_before_anyone_has_two(steps):
    queue = FairQueue()
    positions, taken, last_turn = {}, 0, {}
    for number, step in enumerate(steps):
        if isinstance(step, str):
            others = len(queue)
            positions[number] = taken + queue.put(step, (step, number))
            assert positions[number] - taken <= others
            continue
        waiting = {client for client in "abcd" if queue.of(client)}
        batch = queue.take(step)
        turns = Counter(client for client, _ in batch)
        if max(turns.values(), default=0) > 1:
            assert set(turns) == waiting
        # Nobody comes later than was said at the time, unless others came who had no turn yet.
        taken += len(batch)
        assert len(batch) == min(step, len(batch) + len(queue))
        numbers = {}
        for client, item in batch:
            assert numbers.get(client, -1) < item > last_turn.get(client, -1)
            numbers[client] = item
        last_turn |= numbers


def test_a_position_is_how_many_are_taken_before():
    queue = FairQueue()
    for client in "aaab":
        queue.put(client, client)
    assert queue.put("c", "c") == 2, "one of a, and b"
    assert queue.put("a", "last") == 5
    assert queue.take(9) == ["a", "b", "c", "a", "a", "last"]


def test_what_nobody_waits_for_is_dropped():
    queue = FairQueue()
    for number in range(6):
        queue.put("ab"[number % 2], number)
    queue.discard(lambda number: number < 4)
    assert len(queue) == 2 and queue.of("a") == 1
    queue.discard(lambda number: number == 4)
    assert queue.take(9) == [5] and len(queue) == 0


def test_thirty_clients_get_the_same_whatever_another_one_asks_for():
    """A hog keeps 64 pictures waiting; each of the others asks for its next when it has its last."""
    policy = StandIn(seconds=0.005)
    pixels = picture(0)

    async def client(answering, name, pictures, stop):
        answers = 0
        right = expected(pixels, name)
        inputs = [PolicyInput(pixels, Prompt(name))] * pictures
        while not stop.is_set():
            found = await answering.ask(Visitor(name, name), inputs)
            assert all((tokens == right).all() for tokens, _ in found)
            answers += len(found)
        return answers

    async def run():
        answering = Answering(policy, Limits())
        stop = asyncio.Event()
        tasks = [asyncio.create_task(client(answering, f"c{i}", 1, stop)) for i in range(30)]
        hog = asyncio.create_task(client(answering, "hog", 64, stop))
        while sum(policy.batches) < 3000:
            await asyncio.sleep(0.01)
        stop.set()
        answers = await asyncio.gather(*tasks)
        await hog
        answering.close()
        return answers

    answers = asyncio.run(run())
    assert min(answers) >= 0.8 * np.mean(answers) > 0
    assert max(policy.batches) > 8, "they are answered together"


def test_an_input_that_the_policy_cannot_take_spoils_no_other():
    policy = StandIn(seconds=0.05)

    async def run():
        answering = Answering(policy, Limits())
        asked = [
            answering.ask(Visitor(str(i), "x"), [an_input(i, "explode" if i == 3 else "x")])
            for i in range(6)
        ]
        found = await asyncio.gather(*asked, return_exceptions=True)
        healthy = answering.healthy
        policy.broken = True
        for _ in range(3):
            with pytest.raises(Refusal):
                await answering.ask(Visitor("a", "a"), [an_input(1)])
        sick = answering.healthy
        answering.close()
        return found, healthy, sick

    found, healthy, sick = asyncio.run(run())
    for i, answer in enumerate(found):
        if i == 3:
            assert isinstance(answer, Refusal) and answer.status == 500
            assert "secret" not in answer.sentence
        else:
            assert (answer[0][0] == expected(an_input(i).pixels, "x")).all()
    assert healthy and not sick


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("raised", "status", "says"),
    [
        (PolicyUnreachable("The server at there:1 gave no answer."), 503, "there:1"),
        (ConnectionError("reset"), 500, "ConnectionError"),
        (EOFError("the end"), 500, "EOFError"),
        (None, 500, "IndexError"),
    ],
)
def test_whatever_a_policy_raises_its_batch_hears_of_it(together, raised, status, says):
    """None: it answers with no rows."""
    policy = StandIn(seconds=0.02, device="a GPU" if together else "cpu")
    right = policy.predict

    def wrong(batch):
        if raised is not None:
            raise raised
        return right(batch)[:0]

    async def run():
        answering = Answering(policy, Limits())
        policy.predict = wrong
        asked = [answering.ask(Visitor(str(i), ""), [an_input(i)]) for i in range(4)]
        async with asyncio.timeout(30):
            refused = await asyncio.gather(*asked, return_exceptions=True)
        failed = answering.failures
        policy.predict = right
        ((tokens, _),) = await answering.ask(Visitor("late", ""), [an_input(9)])
        answering.close()
        return refused, failed, answering.failures, tokens

    refused, failed, after, tokens = asyncio.run(run())
    for refusal in refused:
        assert isinstance(refusal, Refusal) and refusal.status == status
        assert says in refusal.sentence
    assert failed > 0 == after
    assert (tokens == expected(an_input(9).pixels, "x")).all()


def test_a_policy_that_is_stopped_leaves_nobody_waiting():
    async def run():
        answering = Answering(StandIn(), Limits())
        answering.close()
        async with asyncio.timeout(30):
            with pytest.raises(Refusal) as e:
                await answering.ask(Visitor("a", ""), [an_input(0)])
        return e.value

    assert asyncio.run(run()).status == 500


def test_a_full_queue_refuses_and_one_who_has_gone_takes_no_room():
    policy = StandIn(seconds=0.5)

    async def run():
        answering = Answering(policy, Limits(waiting=4, waiting_each=3))
        with pytest.raises(Refusal, match="expected at most 3"):
            await answering.ask(Visitor("a", "a"), [an_input(0)] * 4)
        one = [an_input(0)]
        asked = [asyncio.create_task(answering.ask(Visitor("first", ""), one))]
        # It is being answered, and takes no room.
        await asyncio.sleep(0.05)
        for i in range(4):
            asked.append(asyncio.create_task(answering.ask(Visitor(f"{i}", ""), one)))
        await asyncio.sleep(0)
        with pytest.raises(Refusal, match="full") as full:
            await answering.ask(Visitor("b", "b"), one)
        asked[-1].cancel()
        await asyncio.sleep(0)
        await answering.ask(Visitor("b", "b"), one)
        found = await asyncio.gather(*asked, return_exceptions=True)
        answering.close()
        return full.value, found

    full, found = asyncio.run(run())
    assert full.status == 503 and full.retry_after
    assert [isinstance(answer, asyncio.CancelledError) for answer in found] == [False] * 4 + [True]


def test_a_client_may_send_so_much_a_second():
    limiter = RateLimiter(5, most_clients=2)
    assert [limiter.take("a", 1) for _ in range(5)] == [0] * 5
    assert 0 < limiter.take("a", 1) <= 1
    assert limiter.take("b", 50) == 0, "a large request is taken from a full bucket"
    assert limiter.take("b", 1) > 1
    limiter.take("c", 1)
    assert limiter.take("a", 1) == 0, "it was forgotten"


def test_the_page_counts_the_last_half_minute():
    now = [100.0]
    traffic = Traffic(lambda: 3, clock=lambda: now[0])
    anna, ben = Visitor("a", "Anna"), Visitor("b", "Ben")
    for _ in range(60):
        traffic.answered(anna, "act", Answered(0, 0, 100.0, 100.0, 2))
    now[0] += 60
    for _ in range(30):
        traffic.answered(ben, "tokens", Answered(0, 0, 40.0, 60.0, 1))
    traffic.refused(ben, "tokens", 429)
    status = traffic.status()
    assert status["actions_per_second"] == 1 and status["waiting"] == 3
    assert status["latency_ms"] == {"p50": 100, "p95": 100, "p99": 100}
    assert status["batches"] == {"1": 30}
    assert [(c["name"], c["answers"], c["refused"]) for c in status["clients"]] == [
        ("Anna", 60, 0),
        ("Ben", 30, 1),
    ]
    text = traffic.metrics()[0].decode()
    assert 'vla_tutorial_answers_total{protocol="act"} 60.0' in text
    assert 'vla_tutorial_refusals_total{protocol="tokens",status="429"} 1.0' in text
