"""Ctrl-C: at once for episodes, in two steps for sweeps, and never lost."""

import contextlib
import signal
import threading

import pytest

from vla_tutorial.cli.terminal import Interrupt


def press():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def handler():
    """The handler that was there before is there afterwards."""
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def test_the_first_press_raises():
    with pytest.raises(KeyboardInterrupt), Interrupt():
        press()


def test_a_graceful_one_lets_the_first_press_pass(capsys):
    with Interrupt(graceful=True) as stop:
        assert not stop.asked
        press()
        stop.check()
        assert stop.asked
        assert "Ctrl-C" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            press()


@pytest.mark.parametrize(("graceful", "presses"), [(False, 1), (True, 2)])
def test_a_swallowed_press_is_raised_again(graceful, presses):
    with Interrupt(graceful) as stop:
        for _ in range(presses):
            with contextlib.suppress(KeyboardInterrupt):
                press()
        with pytest.raises(KeyboardInterrupt):
            stop.check()


def test_it_can_be_used_again():
    stop = Interrupt()
    with pytest.raises(KeyboardInterrupt), stop:
        press()
    with stop:
        stop.check()
        assert not stop.asked


def test_one_inside_the_other_gives_the_handler_back():
    with Interrupt() as outer:
        with Interrupt(graceful=True) as inner:
            press()
        assert (outer.asked, inner.asked) == (False, True)
        with pytest.raises(KeyboardInterrupt):
            press()


def test_another_thread_leaves_the_handler_alone():
    before = signal.getsignal(signal.SIGINT)
    found = []

    def work():
        with Interrupt():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]
