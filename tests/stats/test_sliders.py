"""The sliders of pass 4 compute in the browser: their numbers against Python's, in Node."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from vla_tutorial.stats import pairs_needed, standard_error, wilson
from vla_tutorial.stats.power import mcnemar_power

SLIDERS = Path(__file__).parents[2] / "book" / "_static" / "sliders.js"
NODE = shutil.which("node")
CALL = """
await import(process.argv[1]);
const asked = JSON.parse(process.argv[2]);
console.log(JSON.stringify(asked.map(([name, ...values]) => vlaMeasure[name](...values))));
"""

pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node, as `make test-book` does")


def ask(*questions):
    """Calls of functions of sliders.js, as (name, *arguments) → their results."""
    command = [NODE, "--input-type=module", "-e", CALL, SLIDERS.as_uri(), json.dumps(questions)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def test_wilson_of_every_position_of_the_sliders():
    numbers = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000)
    counts = [(round(n * share / 20), n) for n in numbers for share in range(21)]
    found = ask(*(("wilson", *count) for count in counts))
    for count, interval in zip(counts, found, strict=True):
        assert interval == pytest.approx(wilson(*count), abs=1e-12), count


def test_standard_error():
    (found,) = ask(("standardError", 0.9, 225))
    assert found == pytest.approx(standard_error(0.9, 225))


def test_power():
    asked = [
        (pairs, gain / 100, loss / 100)
        for pairs in (1, 5, 6, 20, 50, 200, 1000)
        for gain, loss in ((0, 0), (12, 2), (2, 12), (5, 5), (50, 0), (50, 50), (3, 1), (1, 0))
    ]
    found = ask(*(("mcnemarPower", *values) for values in asked))
    for values, power in zip(asked, found, strict=True):
        assert power == pytest.approx(mcnemar_power(*values), abs=1e-9), values


def test_pairs_needed():
    asked = [(0.12, 0.02), (0.5, 0.0), (0.03, 0.01), (0.02, 0.12), (0.1, 0.1), (0.5, 0.5)]
    found = ask(*(("pairsNeeded", *values) for values in asked))
    assert found == [pairs_needed(*values) for values in asked]
    assert ask(("pairsNeeded", 0.02, 0.01)) == [None]
    assert pairs_needed(0.02, 0.01) > 2000


def test_a_wrong_number_would_be_found():
    (interval,) = ask(("wilson", 9, 10))
    assert interval != pytest.approx(wilson(90, 100), abs=1e-3)
