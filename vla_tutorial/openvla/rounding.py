"""Whole-number rounding under the names that everybody uses for it."""


def ceil_div(a: int, b: int) -> int:
    """The least whole number that is not below a / b, for b > 0."""
    return (a + b - 1) // b


def round_up(a: int, step: int) -> int:
    """The least multiple of `step` that is not below `a`."""
    return ceil_div(a, step) * step
