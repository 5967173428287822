"""A BDDL file of the reader's own, checked word by word before LIBERO sees any of it.

LIBERO evaluates what stands in a region's `:yaw_rotation` as Python, so a file from somebody else
could run anything. What passes here is written anew from the checked names and numbers, and LIBERO
reads only that. What LIBERO would stumble over in the middle of an episode is found here as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from vla_tutorial.sim.own.grammar import (
    Refused,
    Tree,
    name,
    numbers,
    parse,
    shown,
    typed_names,
    words,
    write,
)

WORKSPACES = {
    "libero_tabletop_manipulation": ("main_table", "table"),
    "libero_floor_manipulation": ("floor", "floor"),
    "libero_kitchen_tabletop_manipulation": ("kitchen_table", "kitchen_table"),
    "libero_living_room_tabletop_manipulation": ("living_room_table", "living_room_table"),
    "libero_study_tabletop_manipulation": ("study_table", "study_table"),
    "libero_coffee_table_manipulation": ("coffee_table", "coffee_table"),
}
"""LIBERO's problems → the fixture that things stand on, and its category (libero/envs/problems)."""

PREDICATES = {"in": 2, "on": 2, "open": 1, "close": 1, "turnon": 1, "turnoff": 1}
"""Predicates that LIBERO's own files use, and how many names each takes."""

MOST_THINGS = 60
"""Objects and fixtures. LIBERO's own files have up to 12."""

MOST_REGIONS = 300
"""LIBERO's own files have up to 17."""

MOST_LETTERS = 500
"""Letters of the instruction."""

_REQUIRED = ("problem", ":domain", ":language", ":fixtures", ":objects", ":init", ":goal")
_OPTIONAL = (":requirements", ":regions", ":obj_of_interest")


@dataclass(frozen=True)
class Definition:
    """What a file says."""

    instruction: str  # of its :language, capitals kept
    text: str  # what LIBERO reads: the same without instruction and comments


def check_definition(text: str, categories: Collection[str]) -> Definition:
    """Check a BDDL file's text.

    Args:
        categories: of the objects and fixtures that LIBERO can build.

    Raises:
        Refused: the first thing that is not as LIBERO's own files have it.
    """
    sections = _sections(parse(text))
    problem = _problem(sections)
    fixtures = typed_names(sections[":fixtures"], ":fixtures")
    objects = typed_names(sections[":objects"], ":objects")
    _check_things(fixtures, objects, problem, categories)
    things = {**fixtures, **objects}
    workspace = WORKSPACES[problem][0]
    regions = _regions(sections.get(":regions", []), things, workspace)
    # LIBERO's own files also have regions of things that are not there. Nothing may be in these.
    places = {*things, *(full for full, tree in regions.items() if tree[1][1] in things)}
    start = _predicates(sections[":init"], ":init", places)
    _check_placed(start, objects)
    goal = _predicates(_goal(sections), ":goal", places)
    interest = words(sections.get(":obj_of_interest", []), ":obj_of_interest")
    for thing in interest:
        _check_known(thing, places, ":obj_of_interest")
    tree: list[Tree] = ["define", ["problem", problem], [":domain", "robosuite"], [":language"]]
    tree.append([":regions", *regions.values()])
    tree.append([":fixtures", *_by_category(fixtures)])
    tree.append([":objects", *_by_category(objects)])
    tree.append([":obj_of_interest", *interest])
    tree.append([":init", *start])
    tree.append([":goal", ["and", *goal]])
    return Definition(_instruction(sections[":language"]), write(tree) + "\n")


def _sections(tree: Sequence[Tree]) -> dict[str, list[Tree]]:
    """Name of each section → what stands behind it."""
    if not tree or tree[0] != "define":
        raise Refused("does not begin with '(define'")
    found: dict[str, list[Tree]] = {}
    for section in tree[1:]:
        title = "" if isinstance(section, str) or not section else section[0]
        if not isinstance(title, str) or title.lower() not in (*_REQUIRED, *_OPTIONAL):
            expected = f"expected {', '.join(_REQUIRED + _OPTIONAL)}"
            raise Refused(f"has a section {shown(section)}, {expected}")
        if title.lower() in found:
            raise Refused(f"has two sections {title}")
        found[title.lower()] = list(section[1:])
    missing = [title for title in _REQUIRED if title not in found]
    if missing:
        raise Refused(f"has no section {', '.join(missing)}")
    if words(found[":domain"], ":domain") != ["robosuite"]:
        raise Refused("is not of '(:domain robosuite)'")
    return found


def _problem(sections: Mapping[str, Sequence[Tree]]) -> str:
    """LIBERO's problem, which is the room that the scene is in."""
    problem = " ".join(words(sections["problem"], "problem"))
    if problem not in WORKSPACES:
        raise Refused(f"has problem {problem!r:.80}, expected one of {', '.join(WORKSPACES)}")
    return problem


def _check_things(
    fixtures: Mapping[str, str],
    objects: Mapping[str, str],
    problem: str,
    categories: Collection[str],
) -> None:
    """Refuse what LIBERO cannot build."""
    workspace, own_category = WORKSPACES[problem]
    if fixtures.get(workspace) != own_category:
        raise Refused(f"lacks '{workspace} - {own_category}' in :fixtures, which {problem} has")
    twice = set(fixtures).intersection(objects)
    if twice:
        raise Refused(f"has {min(twice)!r} in both :fixtures and :objects")
    if len(fixtures) + len(objects) > MOST_THINGS:
        raise Refused(f"has more than {MOST_THINGS} objects and fixtures")
    for thing, category in chain(fixtures.items(), objects.items()):
        if category not in categories and thing != workspace:
            known = f"LIBERO has {', '.join(sorted(categories))}"
            raise Refused(f"has {thing!r} of an unknown category {category!r}: {known}")


def _by_category(things: Mapping[str, str]) -> Iterable[str]:
    """A typed list with each category once, since LIBERO keeps only the last of two."""
    grouped: dict[str, list[str]] = {}
    for thing, category in things.items():
        grouped.setdefault(category, []).append(thing)
    for category, names in grouped.items():
        yield from (*names, "-", category)


def _regions(
    trees: Sequence[Tree], things: Collection[str], workspace: str
) -> dict[str, list[Tree]]:
    """Full name of each region ("floor_bin_region") → its list, written anew."""
    if len(trees) > MOST_REGIONS:
        raise Refused(f"has {len(trees)} regions, expected at most {MOST_REGIONS}")
    found: dict[str, list[Tree]] = {}
    for tree in trees:
        if isinstance(tree, str) or not tree or not isinstance(tree[0], str):
            raise Refused(f"has {shown(tree)} in :regions, expected '(name (:target …) …)'")
        own = name(tree[0].lower(), ":regions")
        where = f"region {own}"
        region = _region(tree[1:], where)
        target = region[0][1]
        full = f"{target}_{own}"
        if full in found or full in things:
            raise Refused(f"has two things that are called {full!r}")
        if workspace in full and len(region) < 2:
            raise Refused(f"has no :ranges in {where}, expected '(:ranges ((x y x y)))' in metres")
        found[full] = [own, *region]
    return found


def _region(parts: Sequence[Tree], where: str) -> list[list[Tree]]:
    """The parts of a region, written anew: target first, then ranges, angles and colour."""
    given: dict[str, list[Tree]] = {}
    for part in parts:
        title = "" if isinstance(part, str) or not part else part[0]
        if title not in (":target", ":ranges", ":yaw_rotation", ":rgba") or title in given:
            expected = "expected :target, :ranges, :yaw_rotation and :rgba, each once at most"
            raise Refused(f"has {shown(part)} in {where}, {expected}")
        if len(part) != 2:
            raise Refused(f"has {shown(part)} in {where}, expected one value")
        given[str(title)] = [part[1]]
    target = " ".join(words(given.get(":target", []), f"the target of {where}"))
    found: list[list[Tree]] = [[":target", name(target, f"the target of {where}")]]
    if ":ranges" in given:
        found.append([":ranges", _ranges(given[":ranges"][0], where)])
    if ":yaw_rotation" in given:
        place = f":yaw_rotation of {where}"
        angles = given[":yaw_rotation"][0]
        if isinstance(angles, str) or len(angles) != 1:
            raise Refused(f"has {shown(angles)} in {place}, expected '((low high))' in radians")
        found.append([":yaw_rotation", [_written(numbers(angles[0], 2, place))]])
    if ":rgba" in given:
        found.append([":rgba", _written(numbers(given[":rgba"][0], 4, f":rgba of {where}"))])
    return found


def _ranges(tree: Tree, where: str) -> list[Tree]:
    """Rectangles (x low, y low, x high, y high) in metres from the middle of what they lie on."""
    if isinstance(tree, str) or not 0 < len(tree) <= MOST_REGIONS:
        raise Refused(f"has {shown(tree)} in :ranges of {where}, expected '((x y x y))' in metres")
    found: list[Tree] = []
    for each in tree:
        rectangle = numbers(each, 4, f":ranges of {where}")
        if rectangle[0] > rectangle[2] or rectangle[1] > rectangle[3]:
            raise Refused(f"has {shown(each)} in :ranges of {where}, expected x and y low first")
        found.append(_written(rectangle))
    return found


def _written(values: Iterable[float]) -> list[Tree]:
    return [repr(value) for value in values]


def _goal(sections: Mapping[str, Sequence[Tree]]) -> Sequence[Tree]:
    """The predicates of the goal, of which LIBERO knows only "and"."""
    given = sections[":goal"]
    if len(given) != 1 or isinstance(given[0], str) or not given[0]:
        raise Refused("has no list in :goal, expected '(And (In milk_1 basket_1_contain_region))'")
    goal = given[0]
    if not isinstance(goal[0], str) or goal[0].lower() != "and":
        return [goal]
    if len(goal) < 2:
        raise Refused("asks for nothing in :goal")
    return goal[1:]


def _predicates(trees: Sequence[Tree], where: str, places: Collection[str]) -> list[list[Tree]]:
    """Predicates in small letters, of names that the file has."""
    found: list[list[Tree]] = []
    for tree in trees:
        if isinstance(tree, str) or not tree:
            raise Refused(f"has {shown(tree)} in {where}, expected '(On milk_1 floor_…)'")
        predicate, *arguments = words(tree, where)
        if PREDICATES.get(predicate) != len(arguments):
            expected = ", ".join(f"{each} with {count}" for each, count in PREDICATES.items())
            raise Refused(f"has {shown(tree)} in {where}, expected {expected} names")
        for argument in arguments:
            _check_known(argument, places, where)
        found.append([predicate, *arguments])
    return found


def _check_known(word: str, known: Collection[str], where: str) -> None:
    if word not in known:
        raise Refused(f"has {word!r:.80} in {where}, expected one of {', '.join(sorted(known))}")


def _check_placed(start: Sequence[Sequence[Tree]], objects: Iterable[str]) -> None:
    """Each object is put somewhere, and once: else LIBERO drops it into the robot, or stops."""
    placed = [predicate[1] for predicate in start if predicate[0] in ("in", "on")]
    for thing in objects:
        if placed.count(thing) != 1:
            count = placed.count(thing)
            raise Refused(f"puts {thing!r} {count} times in :init, expected one 'On' or 'In'")


def _instruction(trees: Sequence[Tree]) -> str:
    words(trees, ":language")
    sentence = " ".join(map(str, trees))
    if not 0 < len(sentence) <= MOST_LETTERS or not sentence.isprintable():
        expected = f"expected a sentence of at most {MOST_LETTERS} letters"
        raise Refused(f"has {sentence!r:.80} in :language, {expected}")
    return sentence
