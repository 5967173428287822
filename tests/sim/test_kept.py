"""One simulator is kept until another is needed."""

import pytest

from vla_tutorial.sim import KeptSimulator


class Fake:
    """Notes what happens to it."""

    def __init__(self, events, key):
        self.events, self.key = events, key
        events.append(("build", *key))

    def close(self):
        self.events.append(("close", *self.key))


@pytest.fixture
def events():
    return []


@pytest.fixture
def kept(events):
    return KeptSimulator(lambda *key: Fake(events, key))


def test_the_same_task_gets_the_same_simulator(kept, events):
    assert kept.get("a", 0, 256) is kept.get("a", 0, 256)
    assert events == [("build", "a", 0, 256)]


@pytest.mark.parametrize("other", [("b", 0, 256), ("a", 1, 256), ("a", 0, 64)])
def test_the_old_one_is_closed_before_another_is_built(kept, events, other):
    kept.get("a", 0, 256)
    kept.get(*other)
    assert events[1:] == [("close", "a", 0, 256), ("build", *other)]


def test_after_a_build_that_failed_the_next_one_is_built(events):
    def build(*key):
        if key[1] == 1:
            raise RuntimeError("no such task")
        return Fake(events, key)

    kept = KeptSimulator(build)
    kept.get("a", 0, 256)
    with pytest.raises(RuntimeError):
        kept.get("a", 1, 256)
    kept.get("a", 0, 256)
    assert [event[0] for event in events] == ["build", "close", "build"]


def test_closing_twice_closes_once(kept, events):
    kept.get("a", 0, 256)
    kept.close()
    kept.close()
    assert [event[0] for event in events] == ["build", "close"]
