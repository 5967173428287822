"""actions.py against the reference vectors, bit for bit, and its errors."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from vla_tutorial import actions
from vla_tutorial.actions import ActionStatistics, embedded_statistics
from vla_tutorial.errors import TutorialError

FOLDER = Path(os.environ.get("VLA_GOLDEN") or Path(__file__).parent / "data/tiny_openvla")
GOLDEN = np.load(FOLDER / "golden.npz")
STATISTICS = actions.parse_statistics(
    json.loads((FOLDER / "config.json").read_text())["norm_stats"]
)
STATISTICS["dataset_statistics:None"] = next(
    iter(
        actions.parse_statistics(
            json.loads((FOLDER / "dataset_statistics.json").read_text())
        ).values()
    )
)
VECTORS = [key for key in GOLDEN.files if ".action." in key]


def tokens_of(vector: str) -> np.ndarray:
    stem = vector.split(".action.")[0]
    return GOLDEN[f"{stem}.ids"] if stem.startswith("decode.") else GOLDEN[f"{stem}.decoded_slice"]


def test_there_are_vectors():
    assert any(v.startswith("decode.") for v in VECTORS)
    assert any(v.startswith("case.") for v in VECTORS)


@pytest.mark.parametrize("vector", VECTORS)
def test_decode_is_bit_equal(vector):
    out = actions.decode(tokens_of(vector), STATISTICS[vector.split(".action.")[1]])
    assert np.array_equal(out, GOLDEN[vector])


@pytest.mark.parametrize(
    "case",
    [k.removesuffix(".libero_env_action") for k in GOLDEN.files if k.endswith("libero_env_action")],
)
def test_libero_action_is_bit_equal(case):
    key = next(
        k for k in GOLDEN.files if k.startswith(f"{case}.action.") and not k.endswith(":None")
    )
    assert np.array_equal(actions.to_libero(GOLDEN[key]), GOLDEN[f"{case}.libero_env_action"])


def test_bin_centers():
    if "bin_centers" in GOLDEN:
        assert np.array_equal(actions.BIN_CENTERS, GOLDEN["bin_centers"])
    assert len(actions.BIN_CENTERS) == 255


@pytest.mark.parametrize("key", embedded_statistics())
def test_encode_inverts_decode_for_every_bin(key):
    statistics = embedded_statistics()[key]
    tokens = np.repeat(np.arange(31745, 32000)[:, None], 7, axis=1)
    assert np.array_equal(actions.encode(actions.decode(tokens, statistics), statistics), tokens)


def test_encode_is_within_half_a_bin(rng):
    statistics = embedded_statistics()["libero_object"]
    x = rng.uniform(statistics.q01, statistics.q99, (1000, 7))
    error = np.abs(actions.decode(actions.encode(x, statistics), statistics) - x)
    assert (
        error <= (statistics.q99 - statistics.q01) / 255 / 2 * (1 + 1e-9) + (~statistics.mask) / 255
    ).all()


def test_gripper_mapping():
    def gripper(mapping):
        return [actions.to_libero([0, 0, 0, 0, 0, 0, g], mapping)[6] for g in (0.0, 0.4, 1.0)]

    assert gripper("binarised") == [1, 1, -1]
    assert gripper("inverted") == [-1, -1, 1]
    assert gripper("continuous") == pytest.approx([1, 0.2, -1])


def test_from_libero_inverts_the_gripper():
    for command in (-1.0, 1.0):
        a = np.array([0.1, 0, 0, 0, 0, 0, command])
        assert np.array_equal(actions.to_libero(actions.from_libero(a)), a)


def test_bridge_makes_motion_too_small_not_too_large():
    """The chapter says 3 to 5 times too large; by the published statistics it is a twentieth."""
    libero, bridge = (embedded_statistics()[k] for k in ("libero_object", "bridge_orig"))
    ratio = (bridge.q99 - bridge.q01)[:3] / (libero.q99 - libero.q01)[:3]
    assert (1 / ratio).round() == pytest.approx([24, 21, 28])


def test_missing_mask_means_all_true():
    statistics = ActionStatistics.from_json({"action": {"q01": [0, 0], "q99": [1, 1]}})
    assert statistics.mask.all()


def test_no_noops_fallback():
    one = embedded_statistics()["libero_object"]
    assert actions.find_statistics("libero_object", {"libero_object_no_noops": one}) is one


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([0.0] * 6, r"7 .*\(6,\)"),
        (0.5, r"7 .*\(\)"),
        ([0, 0, np.nan, 0, 0, 0, 1], "nan at index 2"),
        ([0, 0, 0, 0, 0, 0, np.inf], "inf at index 6"),
    ],
)
def test_bad_actions(action, message):
    with pytest.raises(TutorialError, match=message):
        actions.to_libero(action)


def test_unknown_key_lists_and_suggests():
    with pytest.raises(TutorialError, match=r"'libero_objct'.*'libero_object'.*bridge_orig"):
        actions.find_statistics("libero_objct", embedded_statistics())


ROOM = {"q01": [-1.0, 0.0], "q99": [1.0, 1.0], "mask": [True, False]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q01": [1.0, 0.0], "q99": [-1.0, 1.0]}, r"q01\[0\] 1.0 above q99\[0\] -1.0"),
        ({"q01": ["low", 0]}, r"action holds q01\[0\] 'low'"),
        ({"q01": [[-1.0, 0.0]]}, r"action holds q01\[0\] \[-1.0, 0.0\]"),
        ({"q01": -1.0}, "action holds q01 -1.0"),
        ({"q01": None}, "action holds q01 None"),
        ({"q01": []}, r"action holds q01 \[\]"),
        ({"q01": [0.0] * 65}, "action holds q01 "),
        ({"q01": [-1.0]}, "different lengths: q01 1, q99 2, mask 2"),
        ({"q99": [float("nan"), 1.0]}, r"holds action.q99\[0\] nan"),
        ({"q99": [float("inf"), 1.0]}, r"holds action.q99\[0\] inf"),
        ({"q99": [1e300, 1.0]}, r"action holds q99\[0\] 1e\+300"),
        ({"q99": [10**400, 1.0]}, r"action holds q99\[0\] 1000"),
        ({"mask": ["true", "false"]}, r"action holds mask\[0\] 'true'"),
        ({"mask": [1, 0]}, r"action holds mask\[0\] 1"),
        ({"mask": None}, "action holds mask None"),
        ({"mask": [True]}, "different lengths: q01 2, q99 2, mask 1"),
    ],
)
def test_numbers_of_statistics(change, message):
    with pytest.raises(TutorialError, match=f"file.json: somewhere.*{message}"):
        actions.parse_statistics({"somewhere": {"action": ROOM | change}}, "file.json")


def test_equal_quantiles_and_whole_numbers_are_fine():
    statistics = ActionStatistics.from_json({"action": {"q01": [0, 1], "q99": [0, 2]}})
    assert statistics.q01.dtype == statistics.q99.dtype == np.float64
    assert statistics.mask.dtype == bool


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "lacks action"),
        ([], "not as expected"),
        (None, "not as expected"),
        ({"action": [1]}, "holds action"),
        ({"action": {"q01": [0]}}, "lacks q99"),
        ({"action": {"min": [0], "max": [1]}}, "lacks q01, q99"),
        ({"action": {"q01": [0], "q99": [1, 2]}}, "different lengths"),
    ],
)
def test_bad_statistics(entry, message):
    with pytest.raises(TutorialError, match=f"Action statistics.*{message}"):
        ActionStatistics.from_json(entry)


@pytest.mark.parametrize("found", [{}, {"action": ROOM}, ROOM])
def test_statistics_without_a_key(found):
    with pytest.raises(TutorialError, match=r"file.json: no unnorm key.*libero_object"):
        actions.parse_statistics(found, "file.json")


def test_the_only_key_is_the_remedy():
    only = {"libero_4_task_suites_no_noops": embedded_statistics()["libero_object"]}
    with pytest.raises(TutorialError) as e:
        actions.find_statistics("libero_object", only)
    assert "--unnorm-key libero_4_task_suites_no_noops" in str(e.value)


@pytest.mark.parametrize("key", ["libero_90_no_noops", "libero_object_image", "franka"])
def test_another_suites_key_is_no_slip_of_the_finger(key):
    only = {key: embedded_statistics()["libero_object"]}
    with pytest.raises(TutorialError) as e:
        actions.find_statistics("libero_object", only)
    assert "Did you mean" not in str(e.value)


@pytest.mark.parametrize("tokens", [[31872] * 6, [[31872] * 8], [], 31872])
def test_tokens_of_another_number(tokens):
    with pytest.raises(TutorialError, match=r"Tokens of shape .* 7 dimensions"):
        actions.decode(tokens, embedded_statistics()["libero_object"])
