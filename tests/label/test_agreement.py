import pytest

from darkroom.label import agreement


def test_kappa_of_an_example_in_the_literature():
    """50 proposals, each read by two people: 20 times yes and yes, 5 yes and no, 10 no and yes, 15 no and no."""
    both = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert agreement.kappa(both) == pytest.approx(0.4)


def test_kappa_at_its_bounds():
    assert agreement.kappa([("a", "a"), ("b", "b")]) == 1
    assert agreement.kappa([("a", "b"), ("b", "a")]) == -1
    assert agreement.kappa([("a", "a"), ("a", "a")]) is None


def test_only_common_examples_count():
    opinions = {
        "1": {"ben": "cat", "anna": "cat"},
        "2": {"anna": "cat"},
        "3": {"anna": "", "ben": "dog", "cleo": "dog"},
    }
    found = agreement.pairs(opinions)
    assert [(pair.one, pair.other, pair.examples, pair.agreed) for pair in found] == [
        ("anna", "ben", 2, 1),
        ("anna", "cleo", 1, 0),
        ("ben", "cleo", 1, 1),
    ]
    assert list(agreement.disputed(opinions)) == ["3"]
