"""Is the library easy to read? Its density in figures, each with a limit and the places that are worst.

The limits come from eight well-kept codebases of this field, measured in the same way: gpt-fast,
nanochat, einops, openpi, Gymnasium, mujoco_playground, anywidget and lerobot.
"""

import ast
import statistics
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parent.parent / "vla_tutorial"
COLUMNS = 100
SHOWN = 8
"""How many of the worst places a failure names."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True)
class Module:
    """One file of the library."""

    path: Path

    @cached_property
    def lines(self):
        return self.path.read_text(encoding="utf-8").splitlines()

    @cached_property
    def tree(self):
        return ast.parse("\n".join(self.lines))

    @cached_property
    def nodes(self):
        return list(ast.walk(self.tree))

    @cached_property
    def code_lines(self):
        """Numbers of the lines that are neither empty nor a comment nor part of a bare string."""
        strings = set()
        for node in self.find(ast.Expr):
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                strings.update(range(node.lineno, node.end_lineno + 1))
        written = (number for number, line in enumerate(self.lines, 1) if is_code(line))
        return [number for number in written if number not in strings]

    def find(self, kind):
        return [node for node in self.nodes if isinstance(node, kind)]

    def at(self, line):
        """The place as failures name it, for example "sim/kept.py:12"."""
        return f"{self.path.relative_to(LIBRARY)}:{line}"


def is_code(line):
    text = line.strip()
    return bool(text) and not text.startswith("#")


def length(node):
    return node.end_lineno - node.lineno + 1


def is_tuple_assignment(node):
    """`a, b = x, y`; unpacking the result of one call is fine."""
    return isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)


def is_nested(comprehension):
    """Whether it has several `for`, or another comprehension inside."""
    inside = [node for node in ast.walk(comprehension) if isinstance(node, Comprehension)]
    return len(comprehension.generators) > 1 or len(inside) > 1


def public_functions(module):
    """The module's functions and its public classes' methods whose names have no underscore."""
    classes = [node for node in module.tree.body if isinstance(node, ast.ClassDef)]
    bodies = [module.tree.body]
    bodies += [node.body for node in classes if not node.name.startswith("_")]
    for node in chain(*bodies):
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node


def has_full_hints(function):
    listed = function.args
    given = [*listed.posonlyargs, *listed.args, *listed.kwonlyargs, listed.vararg, listed.kwarg]
    untyped = [a.arg for a in given if a is not None and a.annotation is None]
    return function.returns is not None and set(untyped) <= {"self", "cls"}


def worst(places):
    """The first places, one a line."""
    return "".join(f"\n  {place}" for place in places[:SHOWN])


def by_file(places):
    """The files that hold most places, with their numbers, and the places in the first of them."""
    counted = Counter(place.partition(":")[0] for place in places).most_common(SHOWN)
    first = counted[0][0] if counted else ""
    inside = [place for place in places if place.startswith(f"{first}:")]
    return worst([f"{name}: {count}" for name, count in counted]) + worst(inside)


@pytest.fixture(scope="module")
def modules():
    return [Module(path) for path in sorted(LIBRARY.rglob("*.py"))]


@pytest.fixture(scope="module")
def code_lines(modules):
    return sum(len(module.code_lines) for module in modules)


def test_few_lines_are_wide(modules):
    wide = []
    for module in modules:
        numbered = enumerate(module.lines, 1)
        wide += [module.at(number) for number, line in numbered if len(line) > COLUMNS]
    total = sum(len(module.lines) for module in modules)
    assert 100 * len(wide) / total <= 5, by_file(wide)


def test_assignments_assign_one_thing(modules):
    assignments = 0
    tuples = []
    for module in modules:
        found = module.find(ast.Assign)
        assignments += len(found)
        tuples += [module.at(node.lineno) for node in found if is_tuple_assignment(node)]
    assert 100 * len(tuples) / assignments <= 3, by_file(tuples)


def test_comprehensions_are_not_nested(modules, code_lines):
    nested = []
    for module in modules:
        found = module.find(Comprehension)
        nested += [module.at(node.lineno) for node in found if is_nested(node)]
    assert 1000 * len(nested) / code_lines <= 1, worst(nested)


def test_few_expressions_are_conditional(modules, code_lines):
    found = []
    for module in modules:
        found += [module.at(node.lineno) for node in module.find(ast.IfExp)]
    assert 1000 * len(found) / code_lines <= 14, by_file(found)


def test_a_line_says_one_thing(modules, code_lines):
    """Expressions and statements of Python's grammar for each line of code."""
    nodes = {module: len(module.find(ast.expr | ast.stmt)) for module in modules}
    density = {m: nodes[m] / len(m.code_lines) for m in modules if len(m.code_lines) > 20}
    densest = sorted(density, key=density.get, reverse=True)
    named = [f"{module.at(1)} {density[module]:.1f} nodes a line" for module in densest]
    assert sum(nodes.values()) / code_lines <= 5.6, worst(named)


def test_functions_are_short(modules):
    lengths = {}
    for module in modules:
        for node in module.find(Function):
            lengths[f"{module.at(node.lineno)} {node.name}"] = length(node)
    longest = sorted(lengths, key=lengths.get, reverse=True)
    ninth_decile = statistics.quantiles(lengths.values(), n=10)[-1]
    assert ninth_decile <= 22, worst([f"{place}, {lengths[place]} lines" for place in longest])


def test_no_folder_is_crowded(modules):
    folders = Counter(module.path.parent for module in modules)
    crowded = [f"{folder.name}: {n} modules" for folder, n in folders.most_common() if n > 20]
    assert not crowded, worst(crowded)


def test_public_functions_have_docstrings(modules):
    functions = 0
    bare = []
    for module in modules:
        for function in public_functions(module):
            functions += 1
            if ast.get_docstring(function) is None:
                bare.append(f"{module.at(function.lineno)} {function.name}")
    assert 100 * len(bare) / functions <= 1, worst(bare)


def test_public_functions_have_full_hints(modules):
    untyped = []
    for module in modules:
        for function in public_functions(module):
            if not has_full_hints(function):
                untyped.append(f"{module.at(function.lineno)} {function.name}")
    assert not untyped, worst(untyped)
