"""The page's way from tokens to motion (`actions.js`) against Python's: equal to the last bit."""

import numpy as np
from page_modules import in_node, needs_node

from vla_tutorial import actions
from vla_tutorial.wiring import GripperMapping

MAPPINGS = GripperMapping.__args__
STATISTICS = actions.embedded_statistics()

pytestmark = needs_node


def lists(statistics):
    return {name: getattr(statistics, name).tolist() for name in ("q01", "q99", "mask")}


def test_bin_centres(tmp_path):
    found = in_node(tmp_path, 'const found = (await page("actions.js")).BIN_CENTERS;')
    assert found == actions.BIN_CENTERS.tolist()


def test_tokens_become_motion(tmp_path):
    rng = np.random.default_rng(0)
    tokens = np.concatenate(
        [
            rng.integers(31700, 32064, (300, 7)),
            np.repeat(np.arange(31740, 32003)[:, None], 7, 1),
            [[0] * 7, [31999] * 7],
        ]
    )
    given = {
        "tokens": tokens.tolist(),
        "statistics": {key: lists(one) for key, one in STATISTICS.items()},
        "mappings": MAPPINGS,
    }
    script = """
    const { decode, toLibero } = await page("actions.js");
    const found = [];
    for (const statistics of Object.values(given.statistics)) {
      for (const tokens of given.tokens) {
        const decoded = decode(tokens, statistics);
        found.push([decoded, ...given.mappings.map((name) => toLibero(decoded, name, 4))]);
      }
    }
    """
    found = np.array(in_node(tmp_path, script, given))
    rows = iter(found)
    for statistics in STATISTICS.values():
        for row in tokens:
            decoded = actions.decode(row, statistics)
            expected = [decoded, *(actions.to_libero(decoded, name, 4.0) for name in MAPPINGS)]
            assert next(rows).tolist() == np.array(expected).tolist()
    assert len(found) == len(tokens) * len(STATISTICS)


def test_keys(tmp_path):
    script = """
    const { findStatistics } = await page("actions.js");
    const found = [findStatistics("a", given), findStatistics("b", given)];
    try { findStatistics("toString", given); } catch (error) { found.push(error.message); }
    """
    found = in_node(tmp_path, script, {"a": 1, "b_no_noops": 2})
    assert found == [1, 2, "Unknown unnorm key 'toString'. Known: a, b_no_noops."]
