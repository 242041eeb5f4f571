import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.core.errors import DarkroomError
from darkroom.tokens import text
from darkroom.tokens.text import PADDING, Tokenizer, Unusable

TEXTS = ["Where is my card?", "My card is lost.", "我的卡在哪里", "Where is my lost card, please?"] * 3
CONTENTS = text.train(TEXTS, 400)


def test_the_same_texts_give_the_same_tokenizer():
    assert text.train(TEXTS, 400) == CONTENTS


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_every_text_has_tokens_that_lie_in_it(given_text: str):
    tokenizer = Tokenizer(CONTENTS, 128)
    tokens = tokenizer.tokens(given_text)
    assert all(
        0 < token.id < tokenizer.vocabulary and 0 <= token.start <= token.end <= len(given_text) for token in tokens
    )
    ids, cut = tokenizer.ids([given_text])
    assert ids.dtype == np.int32 and ids.shape == (1, 128) and (cut[0] or (ids != PADDING).sum() == len(tokens))


def test_long_texts_are_cut_and_short_ones_padded():
    ids, cut = Tokenizer(CONTENTS, 3).ids(["Where is my card?", "my"])
    assert cut.tolist() == [True, False]
    assert (ids[0] != PADDING).all() and (ids[1] == PADDING).any()


def test_special_tokens_that_are_written_in_a_text_are_plain_text():
    tokenizer = Tokenizer(CONTENTS, 64)
    (name,) = [token for token in (json.loads(CONTENTS)["added_tokens"]) if token["id"] == PADDING]
    (ids,), _ = tokenizer.ids([f"my {name['content']} card"])
    used = np.trim_zeros(ids)
    assert (used != PADDING).all() and len(used) > len(np.trim_zeros(tokenizer.ids(["my card"])[0][0]))


def test_a_tokenizer_without_padding_is_refused():
    values = json.loads(CONTENTS)
    values["added_tokens"] = []
    with pytest.raises(DarkroomError, match="padding"):
        Tokenizer(json.dumps(values).encode(), 8)
    with pytest.raises(DarkroomError, match=r"other\.json is not a tokenizer"):
        Tokenizer(b"{}", 8, "other.json")


def test_texts_are_cleaned():
    assert text.clean("  cafe\u0301\0\tmine \n") == "café  mine"
    for empty in ("", " \n\t", "\u200b"):
        with pytest.raises(Unusable, match="empty"):
            text.clean(empty)
    with pytest.raises(Unusable, match="characters"):
        text.clean("a" * (text.MAX_CHARACTERS + 1))
    with pytest.raises(Unusable, match="Unicode"):
        text.clean("\ud800")
