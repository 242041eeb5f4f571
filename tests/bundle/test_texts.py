"""Tests of bundles of texts."""

from pathlib import Path

import numpy as np
import pytest

from darkroom.bundle import classifier, texts
from darkroom.bundle.texts import TextClassifier
from darkroom.core.errors import DarkroomError
from tests import text_bundles

QUESTIONS = {"my card": "Post.", "my pin": "App."}


def read(folder: Path, **fields: object) -> TextClassifier:
    text_bundles.write(folder / "bundle", **fields)
    bundle = classifier.read(folder / "bundle", threads=1)
    classifier.check_golden(bundle, folder / "bundle")
    return TextClassifier(bundle)


def test_texts_of_any_lengths_are_predicted_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(texts, "_MAX_TOKENS", 5)
    given = ["card my my my", "pin", "lost money", "not card pin money my my lost card", "unheard"]
    logits, probabilities = read(tmp_path).predict(given)
    expected = text_bundles.scores(np.array([text_bundles.ids(text) for text in given]))
    assert logits.tolist() == expected.tolist()
    assert probabilities == pytest.approx(text_bundles.softmax(expected), abs=1e-6)


def test_embeddings_come_with_questions_only(tmp_path: Path):
    ids = np.array([text_bundles.ids("card")])
    assert read(tmp_path).run(ids)[2] is None
    found = read(tmp_path, questions=QUESTIONS)
    assert found.run(ids)[2].tolist() == [[1, 0, 0]]
    assert found.faq.nearest(found.run(ids)[2])[0]["question"] == "my card"


@pytest.mark.parametrize(
    ("language", "answer"), [("", "any"), ("de", "de"), ("DE-ch", "de"), ("pt-br", "br"), ("pt", "any"), ("fr", "any")]
)
def test_the_language_of_an_answer(tmp_path: Path, language: str, answer: str):
    found = read(tmp_path, files={"answers.json": b'{"card": {"pt-br": "br", "": "any", "de": "de"}}'})
    assert found.answer("card", language) == answer
    assert found.answer("pin", language) is None


def test_without_a_neutral_answer_the_first_is_given(tmp_path: Path):
    assert read(tmp_path, files={"answers.json": b'{"card": {"en": "en", "de": "de"}}'}).answer("card", "fr") == "en"


@pytest.mark.parametrize(
    "files",
    [
        {"answers.json": b'{"card": "Post."}'},
        {"answers.json": b"{"},
        {"faq.json": b"[]"},
        {"faq.npy": b""},
        {"tokenizer.json": b"{}"},
    ],
)
def test_invalid_files_are_found_before_the_first_text(tmp_path: Path, files: dict[str, bytes]):
    with pytest.raises(DarkroomError):
        read(tmp_path, questions=QUESTIONS, files=files).prepare()


def test_a_model_without_embeddings_has_no_questions(tmp_path: Path):
    with pytest.raises(DarkroomError, match="outputs"):
        read(tmp_path, questions=QUESTIONS, files={"model.onnx": text_bundles.model(embedding=False)})
