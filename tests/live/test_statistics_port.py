"""The page's interval and test (`statistics.js`) against `vla_tutorial.stats`."""

import numpy as np
from page_modules import in_node, needs_node

from vla_tutorial.stats import wilson
from vla_tutorial.stats.pairs import mcnemar

pytestmark = needs_node


def test_wilson(tmp_path):
    given = [(k, n) for n in (1, 2, 3, 10, 50, 173, 5000) for k in range(0, n + 1, max(1, n // 25))]
    given.append((5000, 5000))
    script = """
    const { wilson } = await page("statistics.js");
    const found = given.map(([k, n]) => { const { low, high } = wilson(k, n); return [low, high]; });
    """
    found = in_node(tmp_path, script, given)
    np.testing.assert_allclose(found, [wilson(k, n) for k, n in given], rtol=1e-12, atol=1e-15)


def test_mcnemar(tmp_path):
    given = [(a, b) for a in range(26) for b in range(26)] + [(0, 1200), (700, 800), (1500, 1400)]
    script = """
    const { mcnemar } = await page("statistics.js");
    const found = given.map(([a, b]) => mcnemar(a, b));
    """
    found = in_node(tmp_path, script, given)
    np.testing.assert_allclose(found, [mcnemar(a, b) for a, b in given], rtol=1e-9)


def test_no_rate_of_nothing(tmp_path):
    script = """
    const { wilson } = await page("statistics.js");
    const found = [];
    for (const [k, n] of given) {
      try { found.push(wilson(k, n)); } catch (error) { found.push(error.message); }
    }
    """
    given = [(0, 0), (3, 2), (-1, 2)]
    found = in_node(tmp_path, script, given)
    assert found == [f"There is no success rate of {k} in {n} episodes." for k, n in given]
