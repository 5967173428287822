"""The page's conditions (`conditions.js`) against Python's, from what the exporter wrote."""

import itertools
import json
import random
from dataclasses import asdict

import msgspec
import pytest
from page_modules import in_node, needs_node

from vla_tutorial.conditions import CATALOGUE, apply
from vla_tutorial.errors import TutorialError
from vla_tutorial.live import wiring_export
from vla_tutorial.scene import Scene
from vla_tutorial.sim import count_initial_states
from vla_tutorial.sim.protocol import task_instructions
from vla_tutorial.spec import PUBLISHED_WIRING

# The page's policy answers with one action, and the page draws one camera's picture.
UNSUPPORTED = {
    *(f"replan_steps_{steps}" for steps in (1, 10)),
    "stale_chunk",
    "wrist_camera",
}

APPLY = """
const { applyConditions } = await page("conditions.js");
const found = given.asked.map(([names, task, init]) => {
  try { return applyConditions(given.manifest, names, { task, init }); }
  catch (error) { return error.message; }
});
"""


@pytest.fixture(scope="module")
def manifest():
    return json.loads(msgspec.json.encode(wiring_export.export()))


def python_apply(names, task, init):
    try:
        wiring, scene = apply(names, PUBLISHED_WIRING, Scene("libero_object", task, init))
    except TutorialError as e:
        return str(e)
    return {"wiring": asdict(wiring), "scene": asdict(scene)}


@needs_node
def test_changes_and_refusals_are_pythons(tmp_path, manifest):
    rng = random.Random(0)
    names = [one["name"] for one in manifest["conditions"] if one["supported"]]
    assert set(CATALOGUE) - set(names) == UNSUPPORTED
    asked = [((), 0, 0), *(((name,), t, i) for name in names for t in (0, 7) for i in (0, 23, 49))]
    asked += [(pair, 4, 2) for pair in itertools.combinations(names, 2)]
    asked += [(("no_flip", "no_flip"), 0, 0)]
    asked += [
        (tuple(rng.sample(names, 4)), rng.randrange(10), rng.randrange(50)) for _ in range(200)
    ]
    found = in_node(tmp_path, APPLY, {"manifest": manifest, "asked": asked})
    refused = 0
    for got, one in zip(found, asked, strict=True):
        expected = python_apply(*one)
        assert got == json.loads(json.dumps(expected)), one
        refused += isinstance(expected, str)
    assert 20 < refused < len(asked) / 2


@needs_node
def test_unknown_and_unsupported_ones(tmp_path, manifest):
    changed = [
        {**one, "supported": one["name"] != "bgr", "note": "It is red."}
        for one in manifest["conditions"]
    ]
    asked = [(["camera_12"], 0, 0), (["bgr"], 0, 0)]
    given = {"manifest": {**manifest, "conditions": changed}, "asked": asked}
    unknown, unsupported = in_node(tmp_path, APPLY, given)
    assert unknown == f"Unknown condition 'camera_12'. Known: {', '.join(CATALOGUE)}."
    assert unsupported == "The page cannot do 'bgr': It is red."


@needs_node
def test_sentences_of_a_target(tmp_path):
    script = """
    const { instructionFor } = await page("conditions.js");
    const found = given.map(([instruction, target]) => instructionFor({ instruction, target }, "own"));
    """
    given = [(None, None), ("", None), (None, "bbq_sauce_1"), ("x", "milk_1")]
    scenes = [Scene("libero_object", 0, 0, instruction=i, target=t) for i, t in given]
    assert in_node(tmp_path, script, given) == [scene.instruction_for("own") for scene in scenes]


def test_the_manifest_says_all_of_the_catalogue(manifest):
    assert [one["name"] for one in manifest["conditions"]] == list(CATALOGUE)
    keys = wiring_export.export().keys
    assert keys[0] == manifest["wiring"]["unnorm_key"]
    assert set(wiring_export.statistics("mini", keys)) == set(keys)
    for one in manifest["conditions"]:
        condition = CATALOGUE[one["name"]]
        assert (one["boundary"], one["teaches"], one["family"]) == (
            condition.boundary,
            condition.teaches,
            condition.family,
        )
        assert one["changes"] or one["sentences"], "it changes something"
        assert one["supported"] or one["note"], "what the page cannot do has a reason"
        if "unnorm_key" in one["changes"]:
            assert one["changes"]["unnorm_key"] in keys
    resets = {one["name"] for one in manifest["conditions"] if one["appliesAt"] == "reset"}
    expected = {
        "no_settle",
        "distractors_swapped",
        "distractors_hidden",
        "nudge_1",
        "nudge_2",
        "nudge_3",
    }
    assert resets == expected


def test_held_out_sentences_follow_the_start(manifest):
    held_out = next(one for one in manifest["conditions"] if one["name"] == "held_out_words")
    assert set(held_out["sentences"]) == {str(task) for task in range(10)}
    for task, own in enumerate(task_instructions("libero_object")):
        sentences = held_out["sentences"][str(task)]
        assert len(sentences) == 20 and own not in sentences
        for init in range(count_initial_states("libero_object", task)):
            _, scene = apply(
                ["held_out_words"], PUBLISHED_WIRING, Scene("libero_object", task, init)
            )
            assert sentences[init % 20] == scene.instruction
