import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.robustness.text_corruptions import CORRUPTIONS, STRENGTHS, corrupt
from darkroom.tokens import text
from darkroom.tokens.text import Tokenizer

TEXT = "I can't find my card; it's been 2 weeks!"


def test_every_corruption_has_a_strength_for_each_severity():
    assert STRENGTHS.keys() == CORRUPTIONS.keys() and {len(values) for values in STRENGTHS.values()} == {5}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("capitals", "I CAN'T FIND MY CARD; IT'S BEEN 2 WEEKS!"),
        ("punctuation", "I cant find my card its been 2 weeks"),
        ("contractions", "I cannot find my card; it is been 2 weeks!"),
    ],
)
def test_the_whole_text_changes_at_full_strength(name: str, expected: str):
    assert CORRUPTIONS[name](TEXT, 1.0, np.random.default_rng(0)) == expected


def test_letters_that_only_resemble_those_of_a_contraction_stay():
    text = "Asl\u0131\u2019m geldi, \u0130'm, it'\u017f"
    assert CORRUPTIONS["contractions"](text, 1.0, np.random.default_rng(0)) == text.replace("\u2019", "'")


def test_only_accents_are_taken_from_letters():
    assert CORRUPTIONS["accents"]("안녕 éÅ", 5.0, np.random.default_rng(0)) == "안녕 eA"


@given(st.sampled_from(sorted(CORRUPTIONS)), st.text(max_size=40), st.integers(0, 99))
def test_a_strength_of_zero_hardly_changes_a_text(name: str, given_text: str, seed: int):
    found = CORRUPTIONS[name](given_text, 0.0, np.random.default_rng(seed))
    expected = " ".join(given_text.split()) if name == "missing_words" else given_text.replace("\u2019", "'")
    assert found == expected or (name != "contractions" and found == given_text)


def test_corrupted_texts_do_not_depend_on_the_others():
    tokenizer = Tokenizer(text.train([TEXT] * 3, 300), 64)
    both = corrupt(([TEXT, "Hello there"], tokenizer), "missing_letters", 5, 1)
    assert (corrupt(([TEXT], tokenizer), "missing_letters", 5, 1) == both[:1]).all()
    assert (both == corrupt(([TEXT, "Hello there"], tokenizer), "missing_letters", 5, 1)).all()
