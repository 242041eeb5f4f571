import pytest

from darkroom.datasets import profiles
from darkroom.datasets.profiles import Profile


def seen(*blocks: list[str], name: str = "a") -> Profile:
    profile = Profile(name)
    for block in blocks:
        profile.see(block)
    return profile


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2.5", "", "NA"], "number"),
        (["1"] * 99 + ["unknown"], "number"),
        (["1", "x"], "category"),
        (["2024-01-31", "31.01.2024", "?"], "date"),
        (["20240131", "20240201"], "number"),
        (["true", "false"], "category"),
        (["", "NA"], "category"),
        ([str(number) for number in range(100)] + [f"x{number}" for number in range(100)], "category"),
    ],
)
def test_columns_are_typed_by_their_values(cells: list[str], kind: str):
    assert profiles.typed(seen(cells), {})[0] == kind


def test_the_users_word_counts():
    assert profiles.typed(seen(["1", "2"]), {"a": "category"}) == ("category", "dataset.yaml")


def test_counts_do_not_depend_on_the_blocks():
    whole, parts = seen(["1", "2", "", "inf", "2"]), seen(["1", "2"], ["", "inf", "2"])
    for one in (whole, parts):
        assert (one.rows, one.missing, one.infinite, one.categories) == (5, 2, 1, {"1": 1, "2": 2})


@pytest.mark.parametrize(
    ("cells", "numbers"), [(["1", "2", "3"], True), (["7", "8"], True), (["1", "3"], False), (["a", "b"], False)]
)
def test_a_column_that_numbers_the_rows(cells: list[str], numbers: bool):
    assert seen(cells).rising is numbers and seen(cells[:1], cells[1:]).rising is numbers


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["1,5", "2,25"], "1,5"),
        (["1.234,50 €", "12 €"], "1.234,50 €"),
        (["12.5%", "NA"], "12.5%"),
        (["36 months"], "36 months"),
        (["01/31/2024"], "01/31/2024"),
        (["a1", "b2"], ""),
        (["1,5", "x"], ""),
        (["", "NA"], ""),
    ],
)
def test_numbers_and_dates_in_another_notation(cells: list[str], found: str):
    assert seen(cells).resembles == found


def test_the_number_of_names_in_memory_is_bounded():
    profile = seen([f"x{number}" for number in range(3 * profiles.MAX_CATEGORIES)])
    assert len(profile.categories) == profiles.MAX_CATEGORIES + 1
