"""What the live page is built from: the same bytes each time, or one sentence."""

import json
import subprocess

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra `book` is not installed")

from vla_tutorial.diagnose import reference_suites
from vla_tutorial.errors import TutorialError
from vla_tutorial.live import (
    LiveOptions,
    build,
    layouts_export,
    meshes,
    physics_export,
    policy_export,
    scene_export,
    shapes,
    vendor,
)
from vla_tutorial.live.build import usual_suites
from vla_tutorial.live.goals_export import goal_parts
from vla_tutorial.live.site_files import write_bytes
from vla_tutorial.policies import known_suites, packaged_policies
from vla_tutorial.scene import UNPERTURBED, Perturbation
from vla_tutorial.sim import Simulator, initial_states


@pytest.fixture(scope="module")
def simulator():
    with Simulator("libero_object", 0, render=False) as made:
        yield made


@pytest.fixture(scope="module")
def packages():
    return vendor.install()


def exported(folder, simulator, packages):
    collected = scene_export.Collected()
    physics_export.export(folder, simulator)
    scene_export.export(folder, simulator, collected)
    # Basket and robot take seconds to simplify. The rest is made in the same way.
    for name in ("basket_1", "robot0"):
        del collected.meshes[f"data/scene/meshes/{name}.bin"]
    scene_export.export_meshes(folder, collected, packages)
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_two_exports_are_equal_to_the_byte(tmp_path, simulator, packages):
    first = exported(tmp_path / "a", simulator, packages)
    second = exported(tmp_path / "b", simulator, packages)
    assert first == second
    assert len(first) > 25


def test_two_suites_lie_beside_each_other_in_one_build(tmp_path, monkeypatch, packages):
    """Looks and weights, which take minutes, are left out."""
    policy = policy_export.PolicyEntry("", 0, "", [], "", 0, 0, 0, None, {"libero_goal": "no"}, {})
    monkeypatch.setattr(scene_export, "export", lambda *_: {"scene": ""})
    monkeypatch.setattr(policy_export, "export", lambda *_, **__: policy)
    monkeypatch.setattr(vendor, "export", lambda *_: None)
    suites = ("libero_object", "libero_goal")
    build(tmp_path / "live", LiveOptions(suites, (0,), ("mini",)), tell=lambda _: None)
    data = tmp_path / "live" / "data"
    manifest = json.loads((data / "manifest.json").read_bytes())
    entries = {entry["suite"]: entry for entry in manifest["suites"]}
    assert tuple(entries) == suites
    assert [entry["stepLimit"] for entry in entries.values()] == [280, 300]
    for suite, entry in entries.items():
        (task,) = entry["tasks"]
        assert (entry["scene"]["suite"], entry["initialStates"]) == (suite, 50)
        assert task["physics"] == f"data/physics/{suite}_task0.xml"
        for part in ("physics", "simulation", "states", "layoutStates"):
            assert task[part] in manifest["files"]
    assert "second_can" not in entries["libero_object"]["tasks"][0]["refusals"]
    sentence = entries["libero_goal"]["tasks"][0]["refusals"]["second_can"]
    assert sentence.startswith("Nothing in this task (wooden_cabinet_1_middle_region) can be moved")
    paraphrase = next(
        c for c in entries["libero_goal"]["conditions"] if c["name"] == "paraphrase_1"
    )
    assert not paraphrase["supported"] and "No paraphrases of libero_goal" in paraphrase["note"]
    assert manifest["policies"]["mini"]["warnings"] == {"libero_goal": "no"}
    assert {"libero_object", "bridge_orig"} <= set(manifest["policies"]["mini"]["statistics"])
    diagnosis = json.loads((data / "diagnosis.json").read_bytes())
    assert diagnosis["references"].keys() == set(suites) & set(reference_suites())


def test_a_build_holds_what_mini_knows_unless_told_otherwise():
    assert usual_suites()[0] == "libero_object"
    assert set(usual_suites()) == set(known_suites("mini"))
    options = LiveOptions()
    assert (options.suites, options.policies) == (usual_suites(), packaged_policies())
    assert options.policies[0] == "mini"


def test_simplified_meshes_stay_close_and_keep_their_labels(simulator, packages):
    whole = meshes.from_model(simulator.model, simulator.model.mesh("milk_1_textured_vis").id)
    small = meshes.simplified({"milk": whole}, packages)["milk"]
    assert len(small.corners) < len(whole.corners) / 4
    assert small.textured and small.texture.max() <= whole.texture.max()
    for end in ("min", "max"):
        apart = getattr(small.positions, end)(0) - getattr(whole.positions, end)(0)
        assert np.abs(apart).max() < 2 * meshes.TOLERANCE
    np.testing.assert_allclose(np.linalg.norm(small.normals, axis=1), 1, atol=1e-6)


def test_a_packed_mesh_holds_what_went_in(simulator):
    box = shapes.of(simulator.model, simulator.model.geom("wall_left_visual").id)
    content = meshes.pack([("wall", box)])
    length = int.from_bytes(content[:4], "little")
    header = json.loads(content[4 : 4 + length])["wall"]
    body = content[4 + length :]
    assert (4 + length) % 4 == 0
    stored = np.frombuffer(body, "<u2", 3 * header["vertices"], header["positions"])
    integers = np.cumsum(stored.reshape(3, -1), axis=1) % 2**16
    positions = np.array(header["low"]) + np.array(header["span"]) * integers.T / 65535
    np.testing.assert_allclose(positions, box.positions, atol=1e-4)
    corners = np.frombuffer(body, "<u2", 3 * header["triangles"], header["corners"])
    np.testing.assert_array_equal(np.cumsum(corners) % 2**16, box.corners.ravel())


def test_a_box_and_a_plane_are_closed_and_face_outwards(simulator):
    for name in ("wall_left_visual", "floor"):
        mesh = shapes.of(simulator.model, simulator.model.geom(name).id)
        a, b, c = (mesh.positions[mesh.corners[:, i]] for i in range(3))
        outwards = np.einsum("ij,ij->i", np.cross(b - a, c - a), mesh.normals[mesh.corners[:, 0]])
        assert (outwards > 0).all()


@pytest.mark.parametrize(("kind", "ends"), [("cylinder", 0.0), ("capsule", 4 / 3 * np.pi * 0.1**3)])
def test_a_round_shape_is_closed_and_faces_outwards(kind, ends):
    import mujoco  # not above: `libero.load` must choose the GL backend first

    text = f'<geom name="one" type="{kind}" size="0.1 0.2"/>'
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{text}</worldbody></mujoco>")
    mesh = shapes.of(model, 0)
    a, b, c = (mesh.positions[mesh.corners[:, i]] for i in range(3))
    # The volume below each triangle counts negative where it faces inwards.
    volume = np.einsum("ij,ij->", a, np.cross(b, c)) / 6
    assert volume == pytest.approx(np.pi * 0.1**2 * 0.4 + ends, rel=0.03)
    facing = np.einsum("ij,ij->i", np.cross(b - a, c - a), mesh.normals[mesh.corners[:, 0]])
    assert (facing > -1e-12).all()


def test_each_side_of_a_box_shows_the_whole_cube_texture():
    sides = shapes._on_cube(shapes._box(1)[0])
    assert sides.shape == (6, 4, 2)
    for side in sides:
        assert {tuple(corner) for corner in side} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_goal_that_the_page_does_not_know_is_refused(simulator):
    with pytest.raises(TutorialError, match=r"\(up milk_1 \); the page knows no such"):
        goal_parts(simulator, (("up", "milk_1"),))


def test_a_model_that_would_move_otherwise_is_refused(tmp_path, simulator):
    import mujoco  # not above: `libero.load` must choose the GL backend first

    physics_export.export(tmp_path, simulator)
    found = mujoco.MjModel.from_xml_path(str(tmp_path / "data/physics/libero_object_task0.xml"))
    physics_export._check_same(found, simulator.model)
    found.body_mass[5] *= 1.01
    with pytest.raises(TutorialError, match="body_mass of the model changes"):
        physics_export._check_same(found, simulator.model)


def test_nudges_are_pythons_own_draws(simulator):
    saved = initial_states("libero_object", 0)
    about = physics_export.physics(simulator, [], saved)
    assert about.joint_noise_seeds == [1, 2, 3]
    assert np.shape(about.joint_noise) == (3, 50, 7)
    start = simulator._perturber.start
    state = np.array(saved[4])
    moved = start(Perturbation(joint_noise_seed=2), state) - state
    start(UNPERTURBED, state)
    arm = 1 + np.array(about.arm_positions)
    np.testing.assert_array_equal(moved[arm], (state[arm] + about.joint_noise[1][4]) - state[arm])


def test_layouts_are_those_of_a_sweep_over_layouts(tmp_path, simulator):
    drawn = layouts_export.draw(simulator)
    entries = layouts_export.export(tmp_path, simulator, drawn)
    content = (tmp_path / entries["layoutStates"]).read_bytes()
    found = np.frombuffer(content, "<f8").reshape(len(layouts_export.SEEDS), -1)
    simulator.reset()
    for seed in (7, 0):
        layout = simulator.layout(seed)
        entry = entries["layouts"][seed]
        np.testing.assert_array_equal(found[seed], layout.state)
        assert (entry.seed, entry.target, entry.instruction) == (
            seed,
            layout.target,
            layout.instruction,
        )
    assert len({entry.target for entry in entries["layouts"]}) > 1


def test_without_npm_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TutorialError, match=r"npm is not installed.*apt-get install nodejs npm"):
        vendor.install()


def test_npm_that_fails_is_told_and_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    refused = subprocess.CalledProcessError(1, "npm", stderr=b"npm error network\n")

    def run(*_, **__):
        raise refused

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(TutorialError, match=r"npm error network. Check the network"):
        vendor.install()
    assert not list(tmp_path.rglob("installed"))


def test_mujocos_glue_code_is_compiled_from_no_text(packages):
    found = (packages / "node_modules/mujoco-js/dist/mujoco_wasm.js").read_text(encoding="utf-8")
    assert "new Function" in found
    script, binary = vendor.split_mujoco(found)
    assert "new Function" not in script and "base64Decode('" not in script
    assert binary[:4] == b"\0asm"
    with pytest.raises(TutorialError, match=r"package-lock.json"):
        vendor.split_mujoco(script)


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(TutorialError, match="not empty and holds no live page"):
        build(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years"


def test_one_name_for_two_contents_is_refused(tmp_path):
    write_bytes(tmp_path / "can.bin", b"1")
    write_bytes(tmp_path / "can.bin", b"1")
    with pytest.raises(TutorialError, match=r"can.bin would be written twice"):
        write_bytes(tmp_path / "can.bin", b"2")
