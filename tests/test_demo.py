"""The demonstration as the command runs it, shortened where the length does not matter."""

import re
from dataclasses import replace

import pytest

from vla_tutorial.demo import run_demo
from vla_tutorial.errors import TutorialError
from vla_tutorial.spec import PUBLISHED_EPISODE

SHORT = replace(PUBLISHED_EPISODE, max_steps=150)


@pytest.fixture(scope="module")
def made(tmp_path_factory, expert):
    folder = tmp_path_factory.mktemp("demo")
    return folder, run_demo(expert, folder, spec=SHORT)


def test_right_and_wrong(made):
    _, found = made
    assert found.results["published"].success is True
    assert found.results["wrong_unnorm_key"].success is False


def test_page_opens_without_a_network(made):
    folder, _ = made
    page = (folder / "index.html").read_text()
    assert "http" not in page
    links = re.findall(r'(?:src|poster|href)="([^"]+)"', page)
    assert {"published/episode.mp4", "wrong_unnorm_key/gripper.png", "overlay.png"} <= set(links)
    assert all((folder / link).is_file() for link in links)


def test_page_says_what_differs_and_what_the_policy_is(made):
    page = (made[0] / "index.html").read_text()
    assert "bridge_orig" in page
    assert "pixels and prompt" in page
    assert "Policy: expert (" in page
    assert "mujoco 3.3.2" in page


def test_page_says_how_both_ended(made):
    folder, found = made
    page = (folder / "index.html").read_text()
    for result in found.results.values():
        assert f'{result.outcome}">{result.sentence()}' in page


def test_second_run_is_refused(made, expert):
    with pytest.raises(TutorialError, match="--overwrite"):
        run_demo(expert, made[0])
