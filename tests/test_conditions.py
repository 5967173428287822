import pytest

from vla_tutorial.conditions import CATALOGUE, apply, changed_settings, find
from vla_tutorial.errors import TutorialError
from vla_tutorial.scene import Scene
from vla_tutorial.wiring import Wiring

WIRING, SCENE = Wiring(unnorm_key="libero_object"), Scene("libero_object", 0, 0)

EXPECTED = {
    "no_flip": {"orientation": "raw"},
    "flip_only": {"orientation": "flip_vertical"},
    "wrong_prompt": {"prompt_template": "What action should the robot take? {instruction}"},
    "wrong_unnorm_key": {"unnorm_key": "bridge_orig", "embedded_statistics": True},
    "gripper_inverted": {"gripper": "inverted"},
    "no_settle": {"settle_steps": 0},
}


@pytest.mark.parametrize("name", CATALOGUE)
def test_changes_what_it_should_and_nothing_else(name):
    changed = changed_settings(find(name), WIRING, SCENE)
    assert {k: after for k, (_, after) in changed.items()} == EXPECTED[name]


def test_two_compose():
    wiring, scene = apply(["no_flip", "wrong_unnorm_key"], WIRING, SCENE)
    assert (wiring.orientation, wiring.unnorm_key, scene) == ("raw", "bridge_orig", SCENE)


def test_none_changes_nothing():
    assert apply([], WIRING, SCENE) == (WIRING, SCENE)


@pytest.mark.parametrize("pair", [("no_flip", "flip_only"), ("no_flip", "no_flip")])
def test_contradictions_name_both(pair):
    with pytest.raises(TutorialError, match=f"{pair[0]}.*{pair[1]}.*orientation"):
        apply(pair, WIRING, SCENE)


def test_unknown_name_suggests():
    with pytest.raises(TutorialError, match="Did you mean 'no_flip'"):
        apply(["noflip"], WIRING, SCENE)
