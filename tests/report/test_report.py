"""`report` and `compare` on folders of episodes that `mini` really drove: numbers, files, the page, and the command line."""

import csv
import io
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import sweep_folder
from rich.console import Console, ConsoleDimensions
from sweep_folder import episode, error
from typer.testing import CliRunner

from vla_tutorial.cli import terminal
from vla_tutorial.cli.app import app
from vla_tutorial.episodes import read_sweep
from vla_tutorial.errors import TutorialError
from vla_tutorial.plots import sweeps as measure_plots
from vla_tutorial.ranges import format_numbers, parse_numbers
from vla_tutorial.report import (
    ConditionRun,
    build_report,
    compare_runs,
    comparison_sentence,
    numbers,
    report_csv,
    report_json,
    report_text,
    tables,
)
from vla_tutorial.report.page import report_html
from vla_tutorial.stats import rate, suite_mean, wilson


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """The console read COLUMNS when it was made, and pytest-xdist sets that."""
    monkeypatch.setattr(terminal.out, "size", ConsoleDimensions(120, 40))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """mini: four conditions. again: the same policy, a few outcomes changed, errors and gaps. other: another policy."""
    root = tmp_path_factory.mktemp("sweeps")
    published = sweep_folder.episodes(inits=20)
    lines = [
        e for c in ("no_flip", "wrong_prompt", "wrong_unnorm_key") for e in sweep_folder.episodes(c)
    ]
    again = [
        e if k % 40 else episode(e["task"], e["init"], success=not e["success"])
        for k, e in enumerate(published)
    ]
    again[3], again[50] = error(0, 3), error(2, 10)
    sweep_folder.write(root / "mini", published + lines)
    sweep_folder.write(root / "again", again[:190], inits=list(range(20)))
    sweep_folder.write(
        root / "other",
        [e | {"first_close": 5} for e in published],
        policy={"name": "other", "checkpoint": None},
    )
    return root


@pytest.fixture
def sweeps(folders):
    return [read_sweep(folders / name) for name in ("mini", "again", "other")]


def call(*arguments):
    """The command line → (exit code, output with runs of white space as one space, stderr likewise)."""
    found = CliRunner().invoke(app, [str(a) for a in arguments])
    return found.exit_code, " ".join(found.stdout.split()), " ".join(found.stderr.split())


def test_report_counts_what_is_in_the_rows(sweeps):
    report = build_report(sweeps[:1])
    conditions = {c.condition: c for c in report.sweeps[0].conditions}
    assert [c.rate.episodes for c in conditions.values()] == [200, 200, 168, 8]
    rows = [r for r in sweep_folder.measured() if r["init"] < 20]
    published = conditions["published"]
    assert published.rate.successes == sum(r["success"] for r in rows)
    assert published.rate.interval == wilson(published.rate.successes, 200)
    assert published.mean.mean == pytest.approx(published.rate.rate)
    assert (
        published.mean.interval.low < published.rate.interval.low
    )  # task 1 is harder than the others
    assert [t.rate.successes for t in published.tasks] == [
        sum(r["success"] for r in rows if r["task"] == t) for t in range(10)
    ]
    assert published.first_close_successes.steps.least == min(
        r["first_close"] for r in rows if r["success"]
    )
    assert conditions["wrong_unnorm_key"].first_close_failures.never == 8
    assert conditions["no_flip"].mean.alike
    assert conditions["no_flip"].mean.interval == wilson(0, 10)


def test_report_compares_with_the_published_run(sweeps):
    report = build_report(sweeps)
    found = {c.comparison.b: c for c in report.comparisons}
    assert {c.comparison.a for c in report.comparisons} == {"mini · published"}
    assert list(found) == [
        "mini · no_flip",
        "mini · wrong_prompt",
        "mini · wrong_unnorm_key",
        "again",
        "other",
    ]
    assert found["mini · no_flip"].comparison.paired.pairs == 200
    assert all(c.comparison.paired.p_value <= c.holm <= 1 for c in report.comparisons)
    assert found["mini · wrong_unnorm_key"].holm == pytest.approx(
        3 * 2 * 0.5**8
    )  # the third smallest of five
    assert found["other"].comparison.paired.flips.successes == 0
    assert found["other"].comparison.differs == (
        "policy.name",
        "policy.checkpoint",
        "policy.weights",
    )
    assert found["again"].comparison.repeat


def test_another_policys_condition_is_not_held_against_this_published_run(folders, tmp_path):
    alone = sweep_folder.write(
        tmp_path / "alone", sweep_folder.episodes("no_flip"), policy={"name": "other"}
    )
    report = build_report([read_sweep(folders / "mini"), read_sweep(alone)])
    assert "alone · no_flip" not in {c.comparison.b for c in report.comparisons}


def test_errors_stand_apart(sweeps):
    condition = build_report(sweeps[1:2]).sweeps[0].conditions[0]
    assert condition.errors == 2 and condition.rate.episodes == 188
    assert sum(t.errors for t in condition.tasks) == 2


def test_only_errors(tmp_path):
    sweep = read_sweep(sweep_folder.write(tmp_path, [error(0, i) for i in range(3)]))
    report = build_report([sweep])
    assert report.sweeps[0].conditions[0].rate is None
    assert "every episode with every setting as published ended in an error" in report_html(
        report, [sweep]
    )
    assert call("report", tmp_path)[0] == 0
    code, _, err = call("compare", tmp_path, sweep_folder.write(tmp_path / "b", [episode()]))
    assert code == 2 and "nothing to compare" in err


def test_compare_in_words(sweeps):
    mini, again, other = sweeps
    published = ConditionRun(mini, "published", "published")
    assert "succeeds less often" in comparison_sentence(
        compare_runs(published, ConditionRun(mini, "no_flip", "no_flip"))
    )
    assert "succeeds more often" in comparison_sentence(
        compare_runs(ConditionRun(mini, "no_flip", "no_flip"), published)
    )
    twice = compare_runs(published, ConditionRun(again, "published", "again"))
    assert (
        "a flip rate of" in comparison_sentence(twice)
        and twice.errors_b == ((0, 3), (2, 10))
        and len(twice.only_in_a) == 10
    )
    assert "end alike from all 200 initial states" in comparison_sentence(
        compare_runs(published, ConditionRun(other, "published", "other"))
    )
    unlike = replace(
        compare_runs(published, ConditionRun(again, "published", "again")), repeat=False
    )
    assert "do not show a difference" in comparison_sentence(
        unlike
    ) and "found with 80 % probability" in comparison_sentence(unlike)


def test_one_sided_flips_are_not_noise(tmp_path):
    lines = sweep_folder.episodes(inits=10)
    worse = [e if e["init"] else episode(e["task"], 0, success=False) for e in lines]
    a, b = (
        read_sweep(sweep_folder.write(tmp_path / name, x))
        for name, x in (("a", lines), ("b", worse))
    )
    assert "not noise alone" in comparison_sentence(
        compare_runs(ConditionRun(a, "published", "a"), ConditionRun(b, "published", "b"))
    )


def test_few_pairs_say_that_nothing_could_be_shown(tmp_path):
    a = read_sweep(sweep_folder.write(tmp_path / "a", [episode(init=i) for i in range(4)]))
    b = read_sweep(
        sweep_folder.write(
            tmp_path / "b", [episode(init=i, success=i > 0) for i in range(4)], max_steps=100
        )
    )
    found = compare_runs(ConditionRun(a, "published", "a"), ConditionRun(b, "published", "b"))
    assert found.smallest is None and found.differs == ("max_steps",)
    assert "no difference, however large, would have been found" in comparison_sentence(found)


def test_compare_says_what_holds_for_who_looked_on_the_way(folders):
    options = ("--condition-b", "no_flip")
    code, text, _ = call("compare", folders / "mini", folders / "mini", *options)
    assert code == 0 and "looked at on the way 95 % −" in text
    found = CliRunner().invoke(
        app, ["compare", str(folders / "mini"), str(folders / "mini"), *options, "--json"]
    )
    anytime = json.loads(found.stdout)["anytime"]
    assert (anytime["lost"], anytime["verdict"]) == (192, "differ")
    # Who may stop at any time pays for it with a wider interval.
    low, high = json.loads(found.stdout)["paired"]["interval"]
    assert anytime["interval"][0] < low and high < anytime["interval"][1]


def test_the_headline_is_over_tasks(folders, page_text):
    report = build_report([read_sweep(folders / "mini")])
    published = report.sweeps[0].conditions[0]
    lead = re.search(r'<p class="lead">mini: (.*?)</p>', page_text, re.S)[1]
    lead = lead.replace("\N{NO-BREAK SPACE}", " ")
    assert f"95 % interval {numbers.percents(published.mean.interval)} over tasks" in lead
    assert f"and {numbers.percents(wilson(192, 200))} for more episodes of these tasks" in lead
    words = tables.headline_interval(report.sweeps[0].conditions[1].rate, suite_mean(ALIKE))
    assert "27.8 % over tasks (every episode ended alike, so each task counts once)" in words
    few = tables.headline_interval(rate(3, 4), suite_mean({0: (3, 4)}))
    assert few == "95 % interval 30.1 to 95.4 % for more episodes of these tasks"


ALIKE = {task: (0, 20) for task in range(10)}


def test_many_policies_are_compared_pair_by_pair(sweeps):
    """By hand: `again` flips five starts of mini's published run, `other` none."""
    report = build_report(sweeps)
    (matrix,) = report.matrices
    assert (matrix.suite, matrix.condition) == ("libero_object", "published")
    assert matrix.labels == ("mini · published", "again", "other")
    pairings = {(p.a, p.b): p for p in matrix.pairings}
    assert list(pairings) == [(0, 1), (0, 2), (1, 2)]
    again = pairings[0, 1].paired
    assert again.flips.successes == pairings[1, 2].paired.flips.successes == 5
    assert pairings[0, 2].paired.p_value == 1
    assert pairings[0, 1].holm == pytest.approx(min(1, 3 * again.p_value))
    assert build_report(sweeps[:2]).matrices == ()


def test_the_matrix_is_drawn_both_ways(tmp_path, page_text):
    inits = range(10)
    wins = {"a": 10, "b": 5, "c": 0}
    folders = [
        sweep_folder.write(
            tmp_path / name,
            [episode(task, init, success=init < won) for task in range(2) for init in inits],
        )
        for name, won in wins.items()
    ]
    apart = sweep_folder.write(tmp_path / "d", [episode(5, 1)])
    (matrix,) = build_report([read_sweep(folder) for folder in [*folders, apart]]).matrices
    rows = tables.matrix_table(matrix).rows
    assert [row[2:] for row in rows] == [
        ("–", "+50.0*", "+100*", "–"),
        ("−50.0*", "–", "+50.0*", "–"),
        ("−100*", "−50.0*", "–", "–"),
        ("–", "–", "–", "–"),
    ]
    assert len(matrix.pairings) == 3
    code, text, _ = call("report", *folders, apart)
    assert code == 0 and "Every pair, libero_object, published" in text
    assert "1 a 20/20 – +50.0* +100*" in text and "Holm among 3 pairs" in text
    assert "Every pair, libero_object, published" in page_text
    found = CliRunner().invoke(app, ["report", *map(str, folders), "--json"])
    assert len(json.loads(found.stdout)["matrices"][0]["pairings"]) == 3


def test_credit_for_stages_stands_in_every_report(tmp_path):
    goal = [["in a_1 basket_1", 50], ["in b_1 basket_1", 90]]
    lines = [
        episode(task, init, success=init == 2, stages=goal[:init])
        for task in range(5)
        for init in range(3)
    ]
    folder = sweep_folder.write(tmp_path / "stages", lines)
    code, text, _ = call("report", folder)
    assert code == 0 and "Credit for stages, published" in text
    assert "4 3 1 1 1 1 50.0 –" in text
    assert call("report", folder, "--html", "--out", tmp_path / "r.html")[0] == 0
    page = Page((tmp_path / "r.html").read_text())
    assert not page.open and "Credit for stages, published" in page.texts
    found = json.loads(CliRunner().invoke(app, ["report", str(folder), "--json"]).stdout)
    assert found["sweeps"][0]["conditions"][0]["credit"]["mean"] == 0.5


def test_compare_refuses_what_cannot_be_compared(sweeps, tmp_path):
    mini = ConditionRun(sweeps[0], "published", "mini")
    goal = read_sweep(
        sweep_folder.write(tmp_path / "goal", [episode(suite="libero_goal")], suite="libero_goal")
    )
    apart = read_sweep(sweep_folder.write(tmp_path / "apart", [episode(init=49)]))
    for run, words in (
        (ConditionRun(goal, "published", "goal"), "same suite"),
        (mini, "Both sides"),
        (ConditionRun(apart, "published", "x"), "share no"),
    ):
        with pytest.raises(TutorialError, match=words):
            compare_runs(mini, run)


def test_episodes_that_ask_for_other_objects_are_pairs_of_their_own(tmp_path):
    lines = [episode(target=name) for name in ("milk_1", "butter_1")]
    a = read_sweep(sweep_folder.write(tmp_path / "a", [*lines, episode()]))
    b = read_sweep(sweep_folder.write(tmp_path / "b", [lines[0], lines[1] | {"steps": 99}]))
    found = compare_runs(ConditionRun(a, "published", "a"), ConditionRun(b, "published", "b"))
    assert found.paired.pairs == 2 and found.only_in_a == ((0, 0),)


def test_many_conditions_have_a_row_each(tmp_path):
    names = [f"condition_number_{k}" for k in range(9)]
    lines = [episode(task, condition=name) for name in names for task in range(3)]
    sweep = read_sweep(sweep_folder.write(tmp_path, lines))
    written = io.StringIO()
    Console(width=80, file=written, color_system=None).print(report_text(build_report([sweep]), 80))
    text = written.getvalue()
    assert re.search(r"^condition +0 +1 +2 *$", text, re.M)
    assert all(re.search(rf"^{name}( +1/1){{3}} *$", text, re.M) for name in names)


@pytest.mark.parametrize("width", [80, 120])
def test_terminal_tables_fit(sweeps, width):
    written = io.StringIO()
    Console(width=width, file=written, color_system=None).print(
        report_text(build_report(sweeps), width), highlight=False
    )
    text = written.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for words in (
        "wrong_unnorm_key",
        "192/200",
        "2 episodes ended in an error",
        "190 of 200 planned episodes",
    ):
        assert words in text
    assert ("●" in text) == (width >= 100)
    assert "…" not in text


def test_report_command_prints_and_writes(folders, tmp_path):
    code, text, _ = call("report", folders / "mini")
    assert code == 0 and "published 192/200 96.0" in text and "Against published" in text
    code, text, err = call("report", folders / "mini", "--out", tmp_path / "r.txt")
    assert (
        code == 0 and not text and "Wrote" in err and "192/200" in (tmp_path / "r.txt").read_text()
    )


def test_json_holds_everything(folders):
    found = json.loads(
        CliRunner()
        .invoke(app, ["report", str(folders / "mini"), str(folders / "again"), "--json"])
        .stdout
    )
    published = found["sweeps"][0]["conditions"][0]
    assert published["rate"]["interval"] == list(wilson(192, 200))
    assert found["comparisons"][0]["comparison"]["paired"]["only_a"] == 192
    assert found["sweeps"][1]["conditions"][0]["errors"] == 2


def test_csv_has_a_row_a_task(folders, tmp_path):
    assert call("report", folders / "mini", "--csv", "--out", tmp_path / "r.csv")[0] == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert len(rows) == 4 + 10 + 10 + 10 + 4
    first = rows[0]
    assert (first["condition"], first["task"], first["successes"], first["rate"]) == (
        "published",
        "all",
        "192",
        "0.96",
    )
    assert float(first["wilson_low"]) == pytest.approx(rate(192, 200).interval.low, abs=1e-6)
    assert rows[1]["task"] == "0" and rows[1]["mean_over_tasks"] == ""


class Page(HTMLParser):
    """What a test asks of a page."""

    VOID = ("meta", "link", "img", "br", "hr", "path", "use", "rect")

    def __init__(self, text):
        super().__init__()
        self.open, self.counts, self.attributes, self.texts = [], {}, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def page_text(folders):
    path = folders / "report.html"
    code, _, err = call(
        "report", folders / "mini", folders / "again", folders / "other", "--html", "--out", path
    )
    assert code == 0 and "Wrote" in err
    return path.read_text()


def test_page_is_whole_accessible_and_alone(page_text):
    text, page = page_text, Page(page_text)
    assert not page.open
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    assert page.counts["title"] == page.counts["h1"] == 1
    assert page.counts["caption"] == page.counts["table"] == 6
    drawings = [a for tag, a in page.attributes if tag == "svg"]
    assert (
        len(drawings) == page.counts["figcaption"] == 1 + 3 + 2
    )  # overview, tasks where they differ, first close and time
    assert all(a["role"] == "img" and len(a["aria-label"]) > 30 for a in drawings)
    ids = [a["id"] for _, a in page.attributes if "id" in a]
    assert len(ids) == len(set(ids))
    used = {a["href"][1:] for tag, a in page.attributes if tag == "use"} | set(
        re.findall(r"url\(#([^)]+)\)", text)
    )
    assert used <= set(ids)
    assert all(a.get("scope") for tag, a in page.attributes if tag == "th")
    assert not re.search(
        "#[0-9a-f]{6}", text[text.index("<body>") :], re.IGNORECASE
    )  # all colours are the page's
    assert "prefers-color-scheme: dark" in text


def test_drawn_labels_are_text(page_text):
    texts = [t.strip() for t in Page(page_text).texts]
    assert texts.count("mini · wrong_unnorm_key") >= 5  # tables, forest plot, two histograms
    assert "never" in texts and "task 1" in texts


def test_names_in_the_page_are_escaped(tmp_path):
    lines = [episode(condition="<b>&no"), episode(init=1, condition='"quoted"')]
    sweep = read_sweep(
        sweep_folder.write(tmp_path, lines, policy={"name": "<script>"}, command="a && b")
    )
    page = report_html(build_report([sweep]), [sweep])
    assert "<script>" not in page and "<b>" not in page
    assert not Page(page).open


ODD_NAMES = (
    r"$\frac{a}{$ _b",
    "$x$ and $y$",
    "</script><!--<script>",
    "[bold]:warning:[/]\\",
    "_published",
    "漢字 é",
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_of_a_condition_stands_in_every_report(tmp_path, name):
    lines = [episode(init=i, condition=c) for c in ("published", name) for i in range(2)]
    folder = sweep_folder.write(tmp_path, lines, policy={"name": name}, machine=name)
    code, text, _ = call("report", folder)
    assert code == 0 and " ".join(name.split()) in text
    assert call("report", folder, "--html", "--out", tmp_path / "r.html")[0] == 0
    page = Page((tmp_path / "r.html").read_text())
    assert not page.open
    assert "script" not in page.counts and "b" not in page.counts
    texts = "".join("".join(page.texts).split())
    # In tables, in the drawings, and below.
    assert texts.count("".join(name.split())) >= 6


def test_a_folder_whose_name_is_no_text(tmp_path):
    folder = tmp_path / os.fsdecode(b"sw\xffeep\x1b[31m\n")
    sweep = read_sweep(sweep_folder.write(folder, [episode()]))
    sweep = replace(sweep, notes=(f"{folder} is odd.",))
    report = build_report([sweep])
    for text in (report_html(report, [sweep]), report_json(report), report_csv(report)):
        assert "sw�eep" in text
        assert "\x1b" not in text.encode().decode()


def test_no_text_of_a_sweep_moves_the_cursor(tmp_path):
    odd = "a\x1b[2Jb\n"
    folder = tmp_path / f"s{odd}"
    policy = {"name": odd, "checkpoint": odd, odd: 1}
    sweep_folder.write(folder, [episode()], policy=policy, command=odd)
    with (folder / "episodes.jsonl").open("a") as file:
        file.write('{"cut')
    other = sweep_folder.write(tmp_path / "other", [episode()])
    for arguments in (["report", folder], ["compare", folder, other], ["diagnose", folder]):
        found = CliRunner().invoke(app, [str(a) for a in arguments])
        assert found.exit_code == 0
        # A path that the reader typed may stand in an error line as it is.
        assert "\x1b[2J" not in found.stdout
    assert "policy.a�[2Jb�" in CliRunner().invoke(app, ["compare", str(folder), str(other)]).stdout


def with_error(why, **more):
    return error(**more) | {"error": why}


def test_errors_are_shown_by_cause(tmp_path):
    traceback = (
        "Traceback (most recent call last):\n"
        '  File "sim.py", line 3, in build\n'
        "    raise ValueError(1)\n"
        "ValueError: no EGL <device> [31m was $found$\nsee there"
    )
    lines = [episode(), with_error(traceback, init=1), with_error("The simulator hung.", init=2)]
    lines += [with_error(traceback, init=i, condition="no_flip") for i in (3, 4)]
    folder = sweep_folder.write(tmp_path, lines)
    found = build_report([read_sweep(folder)]).sweeps[0].causes
    assert [cause.episodes for cause in found] == [3, 1]
    assert found[0].cause == "ValueError: no EGL <device> [31m was $found$"
    assert found[0].conditions == ("published", "no_flip")
    assert found[0].first == "published, task 0, init 1"
    code, text, _ = call("report", folder)
    assert code == 0
    assert "Errors by cause" in text
    assert "no EGL <device> [31m was $found$ 3 2 conditions published, task 0, init 1" in text
    assert "The simulator hung. 1 published published, task 0, init 2" in text
    code, text, _ = call("report", folder, "--json")
    assert json.loads(text)["sweeps"][0]["causes"][1]["cause"] == "The simulator hung."
    assert call("report", folder, "--html", "--out", tmp_path / "r.html")[0] == 0
    page = Page((tmp_path / "r.html").read_text())
    assert not page.open
    assert "Errors by cause" in page.texts
    assert found[0].cause in page.texts


def test_many_causes_are_counted_together(tmp_path):
    lines = [with_error(f"cause {i}", init=i) for i in range(15)] + [episode(init=20)]
    code, text, _ = call("report", sweep_folder.write(tmp_path, lines))
    assert code == 0 and "5 other causes 5 – –" in text


def test_without_errors_there_is_no_table_of_them(sweeps, page_text):
    written = io.StringIO()
    Console(width=120, file=written).print(report_text(build_report(sweeps[:1])))
    assert "by cause" not in written.getvalue()
    assert page_text.count("Errors by cause in again") == 1
    assert "Errors by cause in mini" not in page_text


@pytest.mark.parametrize("content", ["[1]", "{", "null", '{"instruction": 5}', "{}", "[" * 9999])
def test_a_damaged_record_is_named(tmp_path, content):
    folder = sweep_folder.write(tmp_path, [episode()])
    record = folder / "episodes/published/0_0/episode.json"
    record.parent.mkdir(parents=True)
    record.write_text(content)
    for option in ("--html", "--json", "--csv"):
        code, _, err = call("report", folder, option, "--out", tmp_path / "r")
        assert code == 2 and "0_0/episode.json" in err and "Traceback" not in err


def test_a_record_that_cannot_be_looked_at_is_none(tmp_path):
    """A name that is too long for any disk, and one in a folder that is a file."""
    lines = [episode(folder="x" * 500), episode(init=1, folder="sweep.json")]
    sweep = read_sweep(sweep_folder.write(tmp_path, lines))
    assert build_report([sweep]).sweeps[0].conditions[0].tasks[0].instruction is None


@pytest.mark.parametrize(
    ("changes", "config", "named"),
    [
        ({"seconds": float("nan")}, {}, "line 1 holds seconds nan"),
        ({"seconds": float("inf")}, {}, "line 1 holds seconds inf"),
        ({"seconds": 1e300}, {}, "line 1 holds seconds 1e+300"),
        ({"first_close": 10**12}, {}, "line 1 holds first_close 1000000000000"),
        ({}, {"versions": [1]}, "sweep.json holds versions [1]"),
        ({}, {"machine": {"gpus": 5}}, "sweep.json holds machine.gpus 5"),
        ({}, {"conditions": 5}, "sweep.json holds conditions 5"),
    ],
)
def test_report_names_what_is_odd(tmp_path, changes, config, named):
    folder = sweep_folder.write(tmp_path, [episode(**changes), episode(init=1)], **config)
    for options in ([], ["--html"], ["--json"], ["--csv"]):
        code, _, err = call("report", folder, *options, "--out", tmp_path / "r")
        assert code == 2 and named in err and "Traceback" not in err


def test_the_greatest_numbers_that_are_read_are_drawn(tmp_path):
    greatest = {"seconds": 1e9, "first_close": 2**31 - 1, "steps": 2**31 - 1}
    folder = sweep_folder.write(tmp_path, [episode(**greatest), episode(init=1)])
    assert call("report", folder, "--html", "--out", tmp_path / "r.html")[0] == 0


def test_instructions_come_from_the_episodes_records(tmp_path):
    folder = sweep_folder.write(tmp_path, [episode()])
    record = folder / "episodes/published/0_0/episode.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"instruction": "pick up the soup"}))
    assert (
        build_report([read_sweep(folder)]).sweeps[0].conditions[0].tasks[0].instruction
        == "pick up the soup"
    )
    record.write_text("{")
    with pytest.raises(TutorialError, match=re.escape(str(record))):
        build_report([read_sweep(folder)])


@pytest.mark.parametrize(
    ("targets", "shown"),
    [
        (["milk_1"], "pick up the milk"),
        (["milk_1", "butter_1"], "pick up the alphabet soup and place it in the basket"),
    ],
)
def test_episodes_that_ask_for_several_objects_show_the_tasks_own(tmp_path, targets, shown):
    lines = [episode(target=name, folder=f"episodes/published/0_0_{name}") for name in targets]
    folder = sweep_folder.write(tmp_path, lines, targets={"0": targets})
    for line in lines:
        record = folder / line["folder"] / "episode.json"
        record.parent.mkdir(parents=True)
        asked = line["target"].removesuffix("_1")
        record.write_text(json.dumps({"instruction": f"pick up the {asked}"}))
    (condition,) = build_report([read_sweep(folder)]).sweeps[0].conditions
    assert condition.tasks[0].instruction == shown


def test_compare_command(folders):
    mini, again = folders / "mini", folders / "again"
    code, text, _ = call("compare", mini, mini, "--condition-b", "no_flip")
    assert code == 0 and text.startswith(
        "no_flip succeeds less often than published from the same initial states: 0 % (0 of 200) against 96.0 %"
    )
    code, text, _ = call("compare", mini, again)
    assert code == 0
    assert "10 initial states of mini not in again: task 9, init 10-19." in text
    assert (
        "2 episodes of again ended in an error and are left out: task 0, init 3; task 2, init 10."
        in text
    )
    found = json.loads(
        CliRunner()
        .invoke(app, ["compare", str(mini), str(again), "--condition-a", "wrong_prompt", "--json"])
        .stdout
    )
    assert (
        found["a"] == "mini · wrong_prompt"
        and found["b"] == "again · published"
        and found["sentence"]
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "nowhere"], "nowhere"),
        (["report", "mini", "again", "mini"], "folder mini"),
        (["report", "mini", "--json", "--csv"], "--csv"),
        (["report", "mini", "--out", "."], "Cannot write ."),
        (["report", "mini", "--html", "--out", "a/b/c.html"], "a/b/c.html"),
        (["compare", "mini", "mini"], "--condition-b"),
        (["compare", "mini", "again", "--condition-a", "no_flop"], "'no_flip'"),
        (["compare", "two", "mini"], "--condition-a"),
        (["report"], "Missing argument"),
    ],
)
def test_bad_input_exits_2_in_words(folders, monkeypatch, arguments, words):
    monkeypatch.chdir(folders)
    sweep_folder.write(folders / "two", [episode(condition=c) for c in ("no_flip", "wrong_prompt")])
    code, _, err = call(*arguments)
    assert code == 2 and words in err and "Traceback" not in err


def test_folders_of_one_name_are_told_apart(folders, tmp_path):
    other = sweep_folder.write(tmp_path / "mini", sweep_folder.episodes(inits=5))
    labels = [
        s.name for s in build_report([read_sweep(folders / "mini"), read_sweep(other)]).sweeps
    ]
    assert labels == [str(folders / "mini"), str(other)]


def test_forest_puts_long_labels_above(tmp_path):
    short = measure_plots.forest_figure(
        [measure_plots.Row("a", rate(1, 2)), measure_plots.Row("b", None)]
    )
    long = measure_plots.forest_figure(
        [measure_plots.Row("a condition with a long name", rate(1, 2), wilson(1, 2))]
    )
    assert [t.get_text() for t in short.axes[0].get_yticklabels()] == ["a", "b"]
    assert "no episode ended" in [t.get_text() for t in short.axes[0].texts]
    assert [t.get_text() for t in long.axes[0].texts] == [
        "a condition with a long name"
    ] and not long.axes[0].get_yticks().size


def test_histogram_counts_every_episode():
    values = measure_plots.Values("x", [40, 44, None], [3, None, None, 280])
    axes = measure_plots.histogram_figure([values], "step").axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == 7
    assert axes.get_xticklabels()[-1].get_text() == "never"
    assert (
        measure_plots.histogram_figure([measure_plots.Values("x", [1.5], [])], "s")
        .axes[0]
        .get_xticklabels()[-1]
        .get_text()
        != "never"
    )


def test_ranges_read_what_they_write():
    for found in ((0,), (0, 1, 2, 3, 7), (5, 3, 4), (1, 3, 5)):
        assert parse_numbers(format_numbers(found)) == tuple(sorted(found))
