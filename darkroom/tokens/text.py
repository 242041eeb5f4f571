"""One text to token ids, by a tokenizer.json of Hugging Face's library tokenizers; nothing in such a file is executed.

A tokenizer comes with pretrained weights, or is trained on the training texts: byte-level BPE, which can write every
text of every script (Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units", ACL
2016; bytes: Radford et al., "Language models are unsupervised multitask learners", 2019).
"""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from darkroom.core.errors import DarkroomError

PADDING = 0  # the id behind the end of a text
FILE = "tokenizer.json"
MAX_CHARACTERS = 20_000  # of a text
_PADDING_TOKEN, _UNKNOWN_TOKENS = "[PAD]", ("[UNK]", "<unk>")


class Unusable(ValueError):
    """The text cannot be used; the message says why in a few words."""


class Token(NamedTuple):
    """A token and its place in the text: text[start:end]. Both are equal for tokens that are not in the text."""

    id: int
    start: int
    end: int


class Tokenizer:
    """Texts to token ids; `length` is the number of tokens from which a text is cut. Thread-safe."""

    def __init__(self, contents: bytes, length: int, source: object = FILE):
        """Read the `contents` of a tokenizer.json; raise DarkroomError that names `source` if it cannot be used."""
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(contents.decode("utf-8"))
        except Exception as error:  # of the library, which has no narrower class
            raise DarkroomError(f"{source} is not a tokenizer ({error}): restore the file.") from None
        self.length, self.vocabulary = length, self._tokenizer.get_vocab_size()
        self._tokenizer.encode_special_tokens = True  # of a text that has [PAD] or the like written in it
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(length)  # counts the tokens that it adds at the ends
        added = self._tokenizer.get_added_tokens_decoder()
        if PADDING not in added or not added[PADDING].special:
            found = self._tokenizer.id_to_token(PADDING)
            raise DarkroomError(
                f"{source}: the token {PADDING} must be the padding, but is {found!r}: use another one."
            )
        self.special = sorted(number for number, token in added.items() if token.special)  # ids of tokens without text
        self._unknown = {self._tokenizer.token_to_id(token) for token in _UNKNOWN_TOKENS} - {None}

    def ids(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The token ids (N, length) int32 of N texts, padded with PADDING, and which were cut: (N,) bool."""
        found = np.full((len(texts), self.length), PADDING, np.int32)
        cut = np.zeros(len(texts), bool)
        for row, encoded in enumerate(self._tokenizer.encode_batch_fast(list(texts))):
            found[row, : len(encoded.ids)] = encoded.ids
            cut[row] = bool(encoded.overflowing)
        return found, cut

    def tokens(self, text: str) -> list[Token]:
        """The tokens of one text, with their places."""
        encoded = self._tokenizer.encode(text)
        return [Token(number, *place) for number, place in zip(encoded.ids, encoded.offsets, strict=True)]

    def unknown(self, ids: np.ndarray) -> np.ndarray:
        """The number of tokens of each row of ids (N, L) that stand for something unknown: (N,) int64."""
        return np.isin(ids, list(self._unknown)).sum(1)


def clean(text: str) -> str:
    """The text in Unicode's form NFC, without blanks at its ends; control characters become blanks.

    Raises Unusable if nothing is left, if it has more than MAX_CHARACTERS, or if it is not valid Unicode.
    """
    if len(text) > MAX_CHARACTERS:
        raise Unusable(f"it has {len(text):,} characters, more than {MAX_CHARACTERS:,}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unusable("it is not valid Unicode") from None
    plain = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    found = unicodedata.normalize("NFC", plain).strip()
    if not any(unicodedata.category(character)[0] not in "ZC" for character in found):
        raise Unusable("it is empty")
    return found


def train(texts: Iterable[str], vocabulary: int) -> bytes:
    """The contents of a tokenizer.json: byte-level BPE of lower-cased texts with at most so many tokens.

    The same texts give the same bytes.
    """
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[_PADDING_TOKEN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str(pretty=False).encode("utf-8")
