import numpy as np
import pytest

from darkroom.preprocess.text_duplicates import find_pairs, key, parts

TEXTS = [
    "Where is the card that I ordered?",
    "where is the card  that I ordered",
    "Where is the cart that I ordered?",
    "Hi",
    "Ho!",
]


def test_near_duplicates_have_their_exact_distance():
    found = find_pairs(TEXTS, np.arange(5), 0.3)
    assert found[["first", "second"]].values.tolist() == [[0, 1], [0, 2], [1, 2]]
    one, other = parts(TEXTS[0]), parts(TEXTS[2])
    assert found["difference"].tolist() == pytest.approx([0] + 2 * [1 - len(one & other) / len(one | other)])
    assert not found["mirrored"].any()


def test_only_chosen_texts_are_compared_and_zero_turns_it_off():
    assert find_pairs(TEXTS, np.array([1, 2, 3]), 0.3)[["first", "second"]].values.tolist() == [[1, 2]]
    assert len(find_pairs(TEXTS, np.arange(5), 0.0)) == 0


def test_keys_ignore_case_blanks_and_punctuation():
    assert key("Ça va,  BIEN?") == key("ça va bien") == "ça va bien"
    assert key("?!") == "?!" and key("我的 卡。") == "我的 卡"
