"""The demonstration as the command runs it, shortened where the length does not matter."""

import re
from dataclasses import replace

import pytest

from vla_tutorial import demo
from vla_tutorial.errors import TutorialError


@pytest.fixture(scope="module")
def made(tmp_path_factory, expert):
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "WIRING", replace(demo.WIRING, max_steps=150))
        return folder, demo.run(expert, folder)


def test_right_and_wrong(made):
    _, report = made
    assert report.results["published"].success is True
    assert report.results["wrong_unnorm_key"].success is False


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


def test_second_run_is_refused(made, expert):
    with pytest.raises(TutorialError, match="--overwrite"):
        demo.run(expert, made[0])
