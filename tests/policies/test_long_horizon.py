"""libero_10's tasks with two objects: the expert does one after the other."""

from vla_tutorial.loop import rollout
from vla_tutorial.policies import native_key
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.wiring import Wiring


def test_two_objects_one_after_the_other(expert):
    """Task 7, with the statistics that the command line chooses."""
    with Simulator("libero_10", 7, render=False) as sim:
        steps = rollout(
            expert,
            sim,
            Wiring(unnorm_key=native_key("expert", "libero_10")),
            Scene("libero_10", 7, 0),
        )
        seen = [
            (
                step.done,
                *(sim.holds(("in", name, "basket_1_contain_region")) for name in sim.targets),
            )
            for step in steps
        ]
    assert len(seen) < 300
    assert seen[-1] == (True, True, True)
    assert (False, True, False) in seen, "the first of the task goes first"


def test_statistics_are_those_that_a_policy_was_made_for():
    keys = [native_key(p, "libero_10_swap") for p in ("expert", "mini", "openvla")]
    assert keys == ["libero_10", "libero_object", "libero_10"]
    assert native_key("openvla", "libero_object_swap") == "libero_object"
    assert native_key("expert", "libero_90") == "libero_object", "no statistics are known"
