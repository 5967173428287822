import pytest

from vla_tutorial.errors import TutorialError
from vla_tutorial.ranges import MOST, format_numbers, parse_numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0-3,7", (0, 1, 2, 3, 7)), (" 5 ", (5,)), ("2-2", (2,)), ("7, 1 - 2", (7, 1, 2))],
)
def test_lists(text, numbers):
    assert parse_numbers(text) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a list of numbers"),
        ("a", "not a list of numbers"),
        ("1,,2", "not a list of numbers"),
        ("-1", "not a list of numbers"),
        ("1-", "not a list of numbers"),
        ("1-2-3", "not a list of numbers"),
        ("0.5", "not a list of numbers"),
        ("²", "not a list of numbers"),
        ("7-3", "runs backwards"),
        ("0-99999999999", "too large: expected up to 9 digits"),
        ("9" * 5000, "too large: expected up to 9 digits"),
        ("0-999999999", f"too many numbers: expected at most {MOST}"),
        (f"0-{MOST - 1},5", f"too many numbers: expected at most {MOST}"),
    ],
)
def test_what_is_no_list(text, message):
    with pytest.raises(TutorialError, match=message) as e:
        parse_numbers(text)
    assert len(str(e.value)) < 200


def test_a_list_of_the_largest_size():
    assert len(parse_numbers(f"0-{MOST - 1}")) == MOST


def test_in_words_again():
    assert format_numbers([7, 0, 2, 1, 3, 1]) == "0-3,7"
    assert format_numbers([]) == ""
