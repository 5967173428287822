"""The book's sources, without building it: contents, claims, values from results, references, and that no page asks another host for anything."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK / "_ext"))
import book_facts  # noqa: E402
import book_published  # noqa: E402

from vla_tutorial.conditions import PUBLISHED  # noqa: E402
from vla_tutorial.episodes import read_sweep  # noqa: E402
from vla_tutorial.stats import wilson  # noqa: E402

REQUIRED = {"id", "title", "where", "claim", "test", "command", "result", "verdict", "sources"}


def files(toc):
    """Every `file:` or `root:` of a table of contents."""
    if isinstance(toc, list):
        return [f for item in toc for f in files(item)]
    if isinstance(toc, dict):
        return [v for k, v in toc.items() if k in ("file", "root")] + [
            f for v in toc.values() if not isinstance(v, str) for f in files(v)
        ]
    return []


@pytest.fixture(scope="module")
def toc():
    return files(yaml.safe_load((ROOT / "_toc.yml").read_text()))


@pytest.fixture(scope="module")
def config():
    return yaml.safe_load((ROOT / "_config.yml").read_text())


@pytest.fixture(scope="module")
def rendered():
    return {p.stem: book_facts.render(p.read_text()) for p in book_facts.pages()}


@pytest.fixture(scope="module")
def keys():
    return re.findall(r"^@\w+\{([^,]+),", (BOOK / "references.bib").read_text(), re.M)


def test_every_entry_of_the_contents_exists(toc):
    missing = [
        f for f in toc if not any((ROOT / f"{f}{end}").exists() for end in (".md", ".ipynb"))
    ]
    assert not missing


def test_every_page_and_notebook_is_in_the_contents(toc):
    pages = [*BOOK.glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    assert {str(p.relative_to(ROOT).with_suffix("")) for p in pages} == set(toc)


@pytest.mark.parametrize(
    "claim", yaml.safe_load((BOOK / "claims.yml").read_text()), ids=lambda c: c["id"]
)
def test_claim_is_complete(claim, keys):
    assert set(claim) == REQUIRED
    assert claim["verdict"] in book_facts.VERDICTS
    assert all(claim[k].strip() for k in REQUIRED - {"command", "sources"})
    assert all(s in keys or s.startswith("https://") for s in claim["sources"])


def test_claims_have_different_ids_and_every_verdict_occurs():
    claims = book_facts.claims()
    assert len({c["id"] for c in claims}) == len(claims)
    assert {c["verdict"] for c in claims} == set(book_facts.VERDICTS)


def test_commands_of_claims_name_files_and_options_that_exist():
    for claim in book_facts.claims():
        for path in re.findall(r"(?:benchmarks|tests)/\w+\.py", claim["command"]):
            assert (ROOT / path).is_file(), claim["id"]
        for module in re.findall(r"python -m (vla_tutorial\.[\w.]+)", claim["command"]):
            assert "__main__" in (ROOT / f"{module.replace('.', '/')}.py").read_text(), claim["id"]
        for name in re.findall(r"--condition (\w+)", claim["command"]):
            assert name in {PUBLISHED, *(c["name"] for c in book_facts.conditions())}, claim["id"]


def test_a_claim_about_the_checkpoint_says_that_it_was_not_run():
    waiting = [c for c in book_facts.claims() if c["verdict"] == "needs the 7B checkpoint"]
    assert all("not run" in c["result"].lower() or "`mini`" in c["result"] for c in waiting)


def test_numbers_page_shows_what_the_files_hold(rendered):
    page = rendered["numbers"]
    measured = read_sweep(ROOT / "results/sweeps/mini_swap").episodes
    successes = sum(e.success for e in measured)
    counts = f"{successes}\N{NO-BREAK SPACE}of\N{NO-BREAK SPACE}{len(measured)}"
    low, high = wilson(successes, len(measured))
    assert f"`sweeps/mini_swap` | {counts} | {100 * low:.1f}–{100 * high:.1f}" in page
    for path in (ROOT / "results").glob("*.json"):
        assert (
            f"results/{path.name}" in page
            and json.loads(path.read_text())["command"].splitlines()[0] in page
        )


def test_incomplete_results_are_called_so(rendered):
    for entry in book_facts.results_listed():
        if not entry["complete"]:
            assert f"`{entry['name']}` is **incomplete**" in rendered["numbers"]


def test_a_page_for_each_boundary_lists_its_conditions(rendered):
    for condition in book_facts.conditions():
        name = condition["name"]
        page = rendered[f"conditions_{condition['boundary']}"]
        assert f"\n(condition-{name})=\n" in page
        assert re.search(rf"^## .*`{name}`", page, re.M)
        assert f"[`{name}`](#condition-{name})" in rendered["conditions"]
        assert condition["teaches"] in page
        for setting in condition["changes"]:
            assert f"| `{setting}` |" in page
        assert all(f"<{address}>" in page for address in condition["seen_in"])
    claimed = {
        c["family"]: (c["boundary"], c["claims"])
        for c in reversed(book_facts.conditions())
        if c["claims"]
    }
    assert all(text in rendered[f"conditions_{name}"] for name, text in claimed.values())


def test_conditions_have_a_page_for_each_boundary_and_one_command(rendered):
    from vla_tutorial.conditions import BOUNDARIES

    pages = [name for name in rendered if name.startswith("conditions")]
    assert sorted(pages) == sorted(["conditions", *(f"conditions_{name}" for name in BOUNDARIES)])
    for name, about in BOUNDARIES.items():
        assert f"\n(boundary-{name})=\n# " in f"\n{rendered[f'conditions_{name}']}"
        assert about in rendered[f"conditions_{name}"]
    whole = "".join(rendered[name] for name in pages)
    assert whole.count("vla-tutorial sweep") == 1
    assert all(rendered[name].count("p < 0.0001") <= 1 for name in pages)


def test_nothing_is_left_to_fill(rendered):
    assert not [name for name, text in rendered.items() if "{{" in text or "{%" in text]


def test_a_value_that_no_file_holds_stops_the_build():
    with pytest.raises(KeyError, match="no 'differs'"):
        book_facts.value("reruns_h100_h200:outcomes.differs")


def test_citations_resolve(rendered, keys):
    cited = {
        k
        for text in rendered.values()
        for group in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
        for k in group.split(",")
    }
    assert cited <= set(keys)


def test_links_to_anchors_and_pages_resolve(rendered):
    targets = {
        t
        for text in rendered.values()
        for t in re.findall(r"^\(([\w-]+)\)=|:name: ([\w-]+)", text, re.M)
        for t in t
        if t
    }
    for name, text in rendered.items():
        for anchor in re.findall(r"\]\(#([\w-]+)\)", text):
            assert anchor in targets, f"{name}: #{anchor}"
        for path in re.findall(r"\]\(((?!https?://|#)[^)]+)\)", text):
            assert (BOOK / path).exists(), f"{name}: {path}"
        for path in re.findall(r'href="((?!https?://|#)[^"]+)\.html"', text):
            # The live page stands beside the book's pages, and `make book` puts it there.
            source = path.replace("../live/", "../vla_tutorial/live/page/")
            # So do what a class gets on paper and on the wall.
            source = source.replace("../class/", "../vla_tutorial/lab/teacher/")
            ends = (".md", ".ipynb", ".html", ".html.jinja")
            assert any((BOOK / f"{source}{end}").exists() for end in ends), f"{name}: {path}"


def test_no_script_style_or_font_comes_from_another_host(config, rendered):
    own = config["sphinx"]["config"]
    assert not own["mathjax_path"].startswith("http") and own["nb_ipywidgets_js"] == {}
    assert not any("//" in f for f in own["html_js_files"] + own["html_css_files"])
    for name in ("site.css",):
        assert "http" not in (BOOK / "_static" / name).read_text()
    for text in rendered.values():
        assert not re.search(r"<(script|link|img|iframe|video)[^>]+(src|href)=\"(https?:)?//", text)


def test_versions_are_pinned():
    pinned = (ROOT / "constraints.txt").read_text()
    assert "jupyter-book==1.0.4.post1" in pinned and "sphinx-mathjax-offline==0.0.2" in pinned


def test_published_reruns_show_what_the_page_says_of_them(rendered):
    found = book_published.published_reruns()
    for source in (*found.low, found.agree):
        rows = [source.success] if hasattr(source, "success") else [source.least, source.most]
        assert all(len(row) == len(found.suites) == len(found.authors) for row in rows)
    agreeing = book_published.gaps(found.agree.least) + book_published.gaps(found.agree.most)
    assert max(map(abs, agreeing)) <= 5, "within five points"
    least, most = book_published.gap_range("libero_object")
    assert -25 < least < most < -14, "far too low"
    rest = book_published.gap_range("libero_object", invert=True)
    assert -7 < rest[0] < 0 < rest[1] < 3
    assert float(book_published.chance_gap(500)) < -most, "chance does not explain it"
    page = rendered["published_numbers"]
    for source in found.low:
        assert f"[{source.who}]({source.address})" in page
    assert "**inferred**" in page and "no checkpoint was run here" in page


def test_versions_of_mujoco_change_what_the_page_says(rendered):
    measured = book_facts.value("mujoco_versions:measured")
    floors = [row["floor"] for row in measured.values()]
    assert floors[0] > 190 and set(floors[1:]) == {144.7}, "darker from the second version on"
    elsewhere = {name: row["bowl"]["elsewhere"] for name, row in measured.items()}
    assert elsewhere == dict.fromkeys(("3.3.2", "3.3.3", "3.3.7"), 0) | dict.fromkeys(
        ("3.4.0", "3.5.0", "3.9.0"), 50
    )
    assert f"from {floors[0]} to {floors[1]} grey levels" in rendered["published_numbers"]


def test_episodes_under_a_later_mujoco_are_pairs_and_stand_on_the_page(rendered):
    ran = book_facts.value("mujoco_episodes:measured")
    here, later = ran.values()
    assert [e["task"] for e in here["episodes"]] == [e["task"] for e in later["episodes"]]
    for name, row in ran.items():
        assert row["successes"] == sum(e["success"] for e in row["episodes"])
        counted = f"| {name} | {row['floor']} | {row['successes']} of {len(row['episodes'])} |"
        assert counted in rendered["published_numbers"]


def test_a_condition_that_ran_a_few_times_says_how_often(rendered):
    of = f"{book_facts.SPACE}of{book_facts.SPACE}"
    assert f"‡ | 3{of}3 |" in rendered["conditions_pixels"], "bilinear_resize does not fail"
    assert "It did not fail here: `mini` succeeded in 3 of 3" in rendered["conditions_motion"]
    assert "We ran 3 episodes of each" in rendered["conditions_motion"]
    assert "‡" not in rendered["conditions_shift"]
    named = {c["name"] for c in book_facts.conditions() if c["few"]}
    assert named <= set(book_facts.RUN_ON_A_CPU)
    notes = (ROOT / "benchmarks/NOTES.md").read_text()
    assert "three whole episodes each" in notes and book_facts.FEW == 3
    assert all(f"`{name}`" in notes for name in named)


def test_intervals_are_wilsons():
    assert book_facts.interval(0, 200) == "0–1.9\N{NO-BREAK SPACE}%"
    assert book_facts.half_width(90, 100) == "6.0"
    assert book_facts.episodes_for(0.9, 2) == 870


def test_a_reader_can_type_every_command(rendered):
    """No "git clone <this repository>": what stands between angle brackets cannot be typed."""
    for name, text in {**rendered, "README": (ROOT / "README.md").read_text()}.items():
        for block in re.findall(r"^ *```(?:bash)?\n(.*?)^ *```", text, re.M | re.S):
            assert not re.search(r"<[a-z][a-z ]*>", block), f"{name}: {block}"


def test_setup_says_where_the_repository_is_only_where_it_has_an_address(monkeypatch):
    page = (BOOK / "setup.md").read_text()
    monkeypatch.setenv("GITHUB_REPOSITORY", "somebody/vla")
    assert "git clone https://github.com/somebody/vla vla-tutorial" in book_facts.render(page)
    monkeypatch.delenv("GITHUB_REPOSITORY")
    monkeypatch.setattr(book_facts.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=""))
    assert "git clone" not in book_facts.render(page)
    assert "None" not in book_facts.render(page)


def test_combinations_are_named_as_the_clips_have_them(rendered):
    recorded = {p.parent.name for p in (BOOK / "clips").glob("0_0/*+*/episode.js")}
    assert len(book_facts.recorded_pairs()) == len(recorded) == 3
    text = " ".join(rendered["conditions"].split())
    for pair in recorded:
        assert "`{}` with `{}`".format(*pair.split("+")) in text
    assert "tick two boxes" not in text


def test_the_comparison_for_instructors_is_of_overlapping_intervals(rendered):
    text = " ".join(rendered["instructors"].split())
    said = r"“([\d.]+) % against ([\d.]+) % shows that the second is better.” : .*? interval ([\d.]+)–([\d.]+) %.*? interval ([\d.]+)–([\d.]+) %"
    one, other, low, high, low2, high2 = map(
        float, re.search(said, text.replace("\N{NO-BREAK SPACE}", " ")).groups()
    )
    assert one < other, "the second is the larger one"
    assert low < one < high and low2 < other < high2
    assert low2 < high, "the intervals overlap, as the answer says"


def test_the_plan_of_two_hours_has_no_gap_and_no_more_than_two_hours(rendered):
    rows = re.findall(r"^\| (\d+)–(\d+) \| (.*?) \| (.*?) \|", rendered["instructors"], re.M)
    ends = [0, *(int(end) for _, end, *_ in rows)]
    assert [int(begin) for begin, *_ in rows] == ends[:-1] and ends[-1] == 120
    lab = nbformat.read(ROOT / "notebooks/lab_classroom.ipynb", as_version=4).cells[0].source
    minutes = {part: int(m) for part, m in re.findall(r"^\| ([\w ]+) \| (\d+) \|", lab, re.M)}
    assert sum(minutes.values()) == 120
    assert list(minutes) == ["begin", *"1234", "break", *"567", "hand in"]
    (begin, end) = next((int(a), int(b)) for a, b, _, where in rows if "tasks 3 and 5" in where)
    assert end - begin == minutes["3"] + minutes["5"]
