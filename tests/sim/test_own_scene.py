"""A scene of the reader's own: what LIBERO's files say passes, and nothing that could run code."""

import io
import json
import pickle
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fuzzing import EXAMPLES, fuzzed, mutated_text
from hypothesis import given
from hypothesis import strategies as st

from vla_tutorial.cli import main
from vla_tutorial.errors import TutorialError
from vla_tutorial.record import header
from vla_tutorial.scene import Scene
from vla_tutorial.sim import KeptSimulator, Simulator, check_task, libero, read_own_scene, task_of
from vla_tutorial.sim.own import Refused, check_definition, definition_file, definition_of
from vla_tutorial.sim.protocol import initial_states
from vla_tutorial.spec import PUBLISHED_WIRING, EpisodeSpec
from vla_tutorial.sweep import SweepPlan

EXAMPLE = Path(__file__).parent.parent.parent / "book" / "tea.bddl"
TEXT = EXAMPLE.read_text(encoding="utf-8")
CATEGORIES = ("milk", "alphabet_soup", "basket")

REGION = "(:target floor) (:ranges ((-0.15 -0.27 -0.05 -0.17)))"
GOAL = "(:goal (And (In milk_1 basket_1_contain_region)))"


def changed(old, new):
    assert TEXT.count(old) == 1
    return TEXT.replace(old, new)


@pytest.fixture
def scene_file(tmp_path):
    """Writes a file and reads it as a scene."""

    def write(text, states=None):
        path = tmp_path / "mine.bddl"
        path.write_text(text, encoding="utf-8")
        return read_own_scene(path, states)

    return write


def saved(path, states):
    np.save(path, states)
    return path


# --- the definition -----------------------------------------------------------------------------


def test_the_example_of_the_book_passes():
    found = check_definition(TEXT, CATEGORIES)
    assert found.instruction == "Pick up the milk and place it in the basket"
    assert "(on milk_1 floor_front_region)" in found.text and ";" not in found.text


BROKEN = ("puts 'milk_1' 2 times", "puts 'milk_1' 2 times", "expected x and y low first")
"""Three files of LIBERO-PRO, for which its own environment raises AssertionError."""


def test_every_file_of_libero_passes_and_means_the_same(tmp_path):
    module = libero.load()
    from libero.libero.envs.bddl_utils import robosuite_parse_problem
    from libero.libero.envs.objects import get_object_dict

    files = sorted(Path(module.get_libero_path("bddl_files")).glob("*/*.bddl"))
    assert len(files) > 500
    written = tmp_path / "written.bddl"
    refused = []
    for file in files:
        try:
            written.write_text(check_definition(file.read_text(), get_object_dict()).text)
        except Refused as e:
            refused.append(str(e))
            continue
        theirs, ours = (robosuite_parse_problem(str(path)) for path in (file, written))
        # The instruction is not for LIBERO, which would take it in small letters.
        assert ours.pop("language_instruction") == [] != theirs.pop("language_instruction")
        assert ours == theirs, file
        # They are built in this order, which is the order of the numbers of a state.
        assert list(ours["objects"].items()) == list(theirs["objects"].items())
    found = [next(reason for reason in BROKEN if reason in each) for each in refused]
    assert sorted(found) == sorted(BROKEN)


@pytest.mark.parametrize(
    "evil",
    [
        '__import__("os").system("touch/tmp/x")',
        "exit()",
        "pi/2",
        "1+1",
        "[].__class__",
        "(0)",
        "0x10",
        "1_0",
        "1e999",
        "nan",
        "inf",
        "1j",
        "٣",
        "9" * 5000,
        "1001",
        "-",
        ".",
        "e5",
        "'0'",
    ],
)
@pytest.mark.parametrize("key", [":yaw_rotation", ":ranges", ":rgba"])
def test_only_numbers_stand_where_libero_evaluates_or_reads_them(key, evil):
    values = {":yaw_rotation": f"(({evil} 0))", ":ranges": f"((0 0 {evil} 0))"}
    value = values.get(key, f"(0 0 {evil} 1)")
    region = REGION.replace("(:ranges ((-0.15 -0.27 -0.05 -0.17)))", f"({key} {value})")
    with pytest.raises(Refused, match="region front_region, expected"):
        check_definition(changed(REGION, region), CATEGORIES)


def test_what_libero_is_given_holds_no_word_that_was_not_checked():
    """The instruction is free text, and comments may hold anything."""
    text = changed("Pick up the milk", "exec: __import__'os' `rm`").replace(";", "; (evil) ")
    found = check_definition(text, CATEGORIES)
    assert "evil" not in found.text and "import" not in found.text
    assert found.instruction.startswith("exec: __import__'os'")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("(define", "(", "does not begin with"),
        ("(:domain robosuite)", "(:domain kitchen)", r"'\(:domain robosuite\)'"),
        ("LIBERO_Floor_Manipulation", "My_Room", "problem 'my_room', expected one of libero_"),
        ("(:language Pick up the milk and place it in the basket)", "", "has no section :language"),
        ("Pick up the milk and place it in the basket", "", "has '' in :language"),
        ("Pick up", "Pick (up)", "in :language, expected words only"),
        ("milk_1 - milk", "milk_1 - cow", "unknown category 'cow': LIBERO has alphabet_soup"),
        ("basket_1 - basket", "milk_1 - basket", "has 'milk_1' twice in :objects"),
        ("basket_1 - basket", "basket_1", "has no category for 'basket_1' in :objects"),
        ("(:fixtures floor - floor)", "(:fixtures)", "lacks 'floor - floor' in :fixtures"),
        ("(On milk_1 floor_front_region)", "", "puts 'milk_1' 0 times in :init"),
        ("(On milk_1 floor_front_region)", "(On milk_1 floor_x)", "has 'floor_x' in :init"),
        ("(On milk_1 floor_front_region)", "(On milk_1)", "expected in with 2, on with 2"),
        (GOAL, "(:goal (And))", "asks for nothing in :goal"),
        (GOAL, "(:goal)", "has no list in :goal"),
        (GOAL, "(:goal (Or (In milk_1 basket_1)))", "in :goal, expected words only"),
        (GOAL, "(:goal (printjointstate milk_1))", "in :goal, expected in with 2"),
        (GOAL, "(:goal (In milk_1 basket_2))", "has 'basket_2' in :goal, expected one of"),
        (REGION, "(:target floor)", "has no :ranges in region front_region"),
        (REGION, "(:ranges ((0 0 1 1)))", "has '' in the target of region front_region"),
        ("-0.15 -0.27 -0.05 -0.17", "0.15 -0.27 -0.05 -0.17", "expected x and y low first"),
        ("-0.15 -0.27 -0.05 -0.17", "0.15 -0.27", "expected 4 numbers"),
        (REGION, f"{REGION} (:color red)", r"has '\(:color red\)' in region front_region"),
        ("(:obj_of_interest", "(:scene_properties (:floor x)) (:obj_of_interest", "has a section"),
        (GOAL, f"{GOAL} {GOAL}", "has two sections :goal"),
        (GOAL, GOAL[:-1], r"lacks 1 '\)' at its end"),
        (GOAL, f"{GOAL}))", r"without its '\('|not one list"),
        (GOAL, "(" * 50 + GOAL + ")" * 50, "nested deeper than 20 levels"),
        ("milk_1 - milk", f"{' '.join(f'm{k}' for k in range(99))} milk_1 - milk", "more than 60"),
    ],
)
def test_what_libero_could_not_use_is_refused_with_its_place(old, new, said):
    with pytest.raises(Refused, match=said):
        check_definition(changed(old, new), CATEGORIES)


@fuzzed()
@given(text=mutated_text(TEXT.encode()))
def test_mutated_definitions_end_in_a_result_or_a_refusal(text):
    try:
        found = check_definition(text.decode(errors="replace"), CATEGORIES)
    except Refused as e:
        said = str(e)
        assert said.isprintable()
    else:
        assert set(found.text) <= set("()-+.:_ \n") | set("abcdefghijklmnopqrstuvwxyz0123456789")


# --- the states ---------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return (print, ("this was run",))


def archive(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as found:
        for name, content in members.items():
            found.writestr(f"{name}.npy", content)
    return file.getvalue()


def as_npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


STATES = as_npy(np.zeros((3, 5)))
BOMB = archive(a=as_npy(np.zeros((9, 2**20))))
CLAIM = STATES.replace(b"(3, 5), ", b"(2000000000, 5), ").replace(b" " * 20, b" " * 11)
WRONG_STATES = {
    "pickle": (as_npy(np.array([Evil()]), allow_pickle=True), "holds object"),
    "bare pickle": (pickle.dumps(Evil()), "cannot be read"),
    "empty": (b"", "cannot be read"),
    "text": (b"0 1 2", "cannot be read"),
    "cut": (STATES[:-9], "cannot be read"),
    "letters": (as_npy(np.array([["a"]])), "expected floats"),
    "one dimension": (as_npy(np.zeros(5)), "two dimensions"),
    "none": (as_npy(np.zeros((0, 5))), "its shape"),
    "claims more": (CLAIM, "its shape|cannot be read"),
    "nan": (as_npy(np.array([[0.0], [np.nan]])), "state 1 holds NaN or infinity"),
    "complex": (as_npy(np.zeros((3, 5), complex)), "expected floats"),
}
WRONG_ARCHIVES = {
    "no archive": (STATES, "cannot be read"),
    "two": (archive(a=STATES, b=STATES), "it has 2 arrays, expected one"),
    "none": (archive(), "it has 0 arrays"),
    "bomb": (BOMB, "more than 64 MiB"),
    "pickle": (archive(a=WRONG_STATES["pickle"][0]), "holds object"),
    "cut": (archive(a=STATES)[:-30], "cannot be read"),
}


@pytest.mark.parametrize(
    "name", [*(f"{n}.npy" for n in WRONG_STATES), *(f"{n}.npz" for n in WRONG_ARCHIVES)]
)
def test_states_that_numpy_would_not_read_safely_are_refused(tmp_path, scene_file, name, capfd):
    path = tmp_path / name
    wrong = WRONG_STATES if path.suffix == ".npy" else WRONG_ARCHIVES
    content, said = wrong[path.stem]
    path.write_bytes(content)
    with pytest.raises(TutorialError, match=said) as error:
        scene_file(TEXT, path)
    assert "numpy.save" in str(error.value) and "\n" not in str(error.value)
    assert "this was run" not in capfd.readouterr().out


def test_liberos_own_states_are_pickles_and_are_not_opened(tmp_path, scene_file):
    path = tmp_path / "task.pruned_init"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(TutorialError, match=r"is not a \.npy or \.npz file"):
        scene_file(TEXT, path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_states_of_each_kind_of_number_and_both_formats_are_read(tmp_path, scene_file, dtype):
    wanted = np.arange(15, dtype=dtype).reshape(3, 5)
    files = {"a.npy": as_npy(np.asfortranarray(wanted)), "a.npz": archive(states=as_npy(wanted))}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        own = scene_file(TEXT, tmp_path / name)
        found = sys.modules["vla_tutorial.sim"].states_of(own)
        assert found.dtype == np.float64 and np.array_equal(found, wanted)
        with pytest.raises(TutorialError, match=r"Unknown init 3 of bddl:mine: expected 0 … 2"):
            task_of(Scene(own.suite, 0, 3, own=own))


@fuzzed(max_examples=max(50, EXAMPLES // 4))
@given(at=st.integers(0, len(STATES) - 1), byte=st.integers(0, 255))
def test_mutated_states_end_in_an_array_or_an_error(tmp_path_factory, at, byte):
    path = tmp_path_factory.mktemp("states") / "a.npy"
    path.write_bytes(STATES[:at] + bytes([byte]) + STATES[at + 1 :])
    try:
        assert read_own_scene(EXAMPLE, path).init_states_sha256
    except TutorialError as e:
        said = str(e)
        assert str(path) in said


# --- files that are odd or change ---------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"(" * 99, b"x" * 2**21, b"\0" * 9])
def test_a_file_that_is_no_definition_is_named(tmp_path, content):
    path = tmp_path / "odd.bddl"
    path.write_bytes(content)
    with pytest.raises(TutorialError, match=r"odd\.bddl (is not|has|lacks|does not|is nested)"):
        read_own_scene(path)


def test_a_file_that_is_missing_or_a_folder_is_named(tmp_path):
    for path in (tmp_path / "none.bddl", tmp_path):
        with pytest.raises(TutorialError, match=str(path)):
            read_own_scene(path)


def test_a_file_that_changes_after_it_was_checked_is_not_used(scene_file):
    own = scene_file(TEXT)
    own.bddl.write_text(TEXT.replace("milk_1 floor", "milk_1  floor"))
    definition_of.cache_clear()
    with pytest.raises(TutorialError, match="has changed since the command began"):
        task_of(Scene(own.suite, 0, 0, own=own))


def test_libero_reads_the_checked_copy_even_if_the_file_changes_meanwhile(scene_file):
    own = scene_file(TEXT)
    task_of(Scene(own.suite, 0, 0, own=own))
    own.bddl.write_text("(define evil)")
    with definition_file(own) as path:
        assert "evil" not in Path(path).read_text() and path != str(own.bddl)
    assert not Path(path).exists()


# --- what it means elsewhere --------------------------------------------------------------------


class Policy:
    def __init__(self):
        self.name = "fake"
        self.provenance = {}


def test_an_episodes_record_says_which_files(tmp_path, scene_file):
    own = scene_file(TEXT, saved(tmp_path / "s.npy", np.zeros((2, 5))))
    scene = Scene(own.suite, 0, 1, own=own)
    found = header(Policy(), PUBLISHED_WIRING, scene, (), "Pick")
    json.dumps(found)
    assert found["suite"] == "bddl:mine"
    assert found["own_scene"]["bddl"] == "mine.bddl"
    assert found["own_scene"]["init_states"] == "s.npy"
    assert {len(found["own_scene"][f"{key}_sha256"]) for key in ("bddl", "init_states")} == {64}


def test_a_command_and_a_line_of_python_name_the_files(scene_file, tmp_path):
    own = scene_file(TEXT, saved(tmp_path / "s.npy", np.zeros((2, 5))))
    spec = EpisodeSpec(own.suite, own=own, max_steps=9)
    command = spec.command(tmp_path / "out")
    assert f"--bddl {own.bddl} --init-states {own.init_states} --init 0" in command
    assert "--suite" not in command and "--task" not in command
    assert f"read_own_scene('{own.bddl}', '{own.init_states}')" in spec.python(tmp_path)


def test_another_file_of_the_same_name_cannot_resume_a_sweep(scene_file):
    plans = []
    for text in (TEXT, TEXT + "\n"):
        own = scene_file(text)
        plans.append(SweepPlan(EpisodeSpec(own.suite, own=own, max_steps=9), (0,), (0,)))
    first, second = (plan.entry() for plan in plans)
    assert first["suite"] == second["suite"] == "bddl:mine"
    assert first["own_scene"]["bddl_sha256"] != second["own_scene"]["bddl_sha256"]
    plans[1].check()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_steps": None}, "No published step limit for bddl:mine; give one with --max-steps"),
        ({"init": -1}, "Unknown init -1"),
        ({"target": "milk_1"}, "has no targets and layouts"),
        ({"layout_seed": 1}, "has no targets and layouts"),
        ({"conditions": ("paraphrase_1",)}, "No paraphrases of bddl:mine"),
        ({"conditions": ("held_out_words",)}, "No sentences for bddl:mine"),
    ],
)
def test_what_an_own_scene_lacks_is_said_before_any_work(scene_file, change, said):
    own = scene_file(TEXT)
    spec = EpisodeSpec(own.suite, own=own, max_steps=9)
    spec.check()
    with pytest.raises(TutorialError, match=said):
        replace(spec, **change).check()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("rollout --init 0 --out o", "Give --suite and --task, or --bddl"),
        ("rollout --init 0 --out o --suite libero_object", "Give --suite and --task, or --bddl"),
        ("rollout --init 0 --out o --bddl F --suite s", "--bddl and --suite exclude each other"),
        ("rollout --init 0 --out o --bddl F --task 0", "exclude each other"),
        ("rollout --init 0 --out o --suite s --task 0 --init-states s.npy", "Give its --bddl FILE"),
        ("rollout --init 0 --out o --bddl none.bddl --max-steps 3", "none.bddl cannot be read"),
        ("rollout --init 0 --out o --bddl F", "No published step limit for bddl:tea"),
        ("sweep --out o", "Give --suite, or --bddl"),
        ("sweep --out o --bddl F --tasks 0", "--bddl and --tasks exclude each other"),
        ("sweep --out o --bddl F --layouts 0", "--bddl and --layouts exclude each other"),
        ("sweep --out o --bddl F --target others", "--bddl and --target exclude each other"),
        ("sweep --out o --bddl F", "No published step limit for bddl:tea"),
    ],
)
def test_options_that_exclude_each_other_are_one_sentence(
    words, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    given = [str(EXAMPLE) if word == "F" else word for word in words.split()]
    monkeypatch.setattr(sys, "argv", ["vla-tutorial", *given])
    with pytest.raises(SystemExit) as end:
        main()
    shown = capsys.readouterr().err
    assert end.value.code == 2 and said in shown and "Traceback" not in shown
    assert not (tmp_path / "o").exists()


def test_a_kept_simulator_is_not_taken_for_another_scene(scene_file):
    own = scene_file(TEXT)
    built = []

    class Fake:
        def close(self):
            pass

    kept = KeptSimulator(lambda *key, **more: built.append((key, more)) or Fake())
    for wanted in (None, own, own, None):
        kept.get("s", 0, 64, wanted)
    assert built == [
        (("s", 0, 64), {}),
        (("s", 0, 64), {"own": own}),
        (("s", 0, 64), {}),
    ]


# --- the real simulator -------------------------------------------------------------------------


def test_a_copy_of_a_task_of_libero_is_that_task(tmp_path, rng):
    """The same file with the same saved states: the same numbers, bit for bit, in the same episode."""
    task = check_task("libero_object", 0)
    states = saved(tmp_path / "states.npy", initial_states("libero_object", 0))
    own = read_own_scene(task.bddl, states)
    actions = rng.uniform(-0.5, 0.5, (5, 7))
    found = []
    for scene in (Scene("libero_object", 0, 7), Scene(own.suite, 0, 7, own=own)):
        with Simulator(scene.suite, 0, 64, render=False, own=scene.own) as simulator:
            simulator.start(scene, 10)
            for action in actions:
                simulator.step(action)
            found.append(simulator.state())
            assert simulator.targets == ("alphabet_soup_1",)
    assert np.array_equal(*found)


def test_without_states_libero_places_the_objects_by_the_number(scene_file):
    own = scene_file(TEXT)
    with Simulator(own.suite, 0, 64, render=False, own=own) as simulator:
        starts = []
        for init in (0, 1, 0):
            simulator.reset(init)
            starts.append(simulator.state())
        assert np.array_equal(starts[0], starts[2]) and not np.array_equal(*starts[:2])
        assert simulator.task.instruction.startswith("Pick up the milk")
        milk = simulator.data.xpos[simulator.bodies["milk_1"]]
        assert (np.array([-0.15, -0.27]) <= milk[:2]).all()
        assert (milk[:2] <= np.array([-0.05, -0.17])).all()
        assert not simulator.succeeded()


def test_states_of_another_scene_are_refused_once_it_is_built(tmp_path, scene_file):
    own = scene_file(TEXT, saved(tmp_path / "s.npy", np.zeros((2, 5))))
    with pytest.raises(TutorialError, match=r"has states of 5 numbers, but this scene's have \d+"):
        Simulator(own.suite, 0, 64, render=False, own=own)


def test_what_libero_cannot_judge_is_found_before_any_step(scene_file):
    own = scene_file(changed(GOAL, "(:goal (Open milk_1))"))
    with pytest.raises(TutorialError, match=r"LIBERO cannot build .*mine\.bddl \(\w+Error"):
        Simulator(own.suite, 0, 64, render=False, own=own)
