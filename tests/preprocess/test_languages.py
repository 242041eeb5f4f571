"""Languages of texts."""

from pathlib import Path

import pandas as pd
import pytest

from darkroom.core import arrays
from darkroom.preprocess import languages, text_report
from tests.preprocess.test_texts import pack, rows

SENTENCES = {
    "en": "My new card has not arrived at my address yet, could you please tell me where it is?",
    "de": "Meine neue Karte ist noch nicht an meiner Adresse angekommen, wo ist sie denn geblieben?",
    "fr": "Ma nouvelle carte n'est pas encore arrivée à mon adresse, pouvez-vous me dire où elle est ?",
    "zh": "我的新卡还没有寄到",
    "ar": "لم تصل بطاقتي الجديدة إلى عنواني بعد، هل يمكنكم إخباري أين هي الآن؟",
    "he": "הכרטיס החדש שלי עדיין לא הגיע לכתובת שלי, איפה הוא נמצא עכשיו?",
    "ru": "Моя новая карта ещё не пришла на мой адрес, скажите, пожалуйста, где она сейчас?",
}


class Toy:
    """Takes the first word of a text for its language, and the second one for the probability."""

    def classify(self, text: str) -> tuple[str, float]:
        language, probability, *_ = text.split()
        return language, float(probability)


def test_texts_are_counted_by_language_and_split():
    texts = {"train": ["de 0.9", "en 0.8", "en 0.6", "fr 0.4", "zxx 0.7"], "test": ["de 0.5", "de 0.7"]}
    found = languages.table(texts, 0, Toy())
    assert found.columns.tolist() == ["language", "confidence", "train", "test"]
    assert found.to_numpy().tolist() == [
        ["de", 0.7, 1, 2],
        ["en", 0.7, 2, 0],
        ["none", 0.7, 1, 0],
        ["uncertain", 0.4, 1, 0],
    ]


def test_a_random_sample_of_a_large_split_is_identified():
    half = languages.SAMPLE * 3 // 5
    texts = {"train": ["a 0.9"] * half + ["b 0.9"] * half, "val": []}
    found = languages.table(texts, 0, Toy()).set_index("language")
    assert found["train"].sum() == languages.SAMPLE and found["train"].min() > half / 2 and not found["val"].any()
    assert found.equals(languages.table(texts, 0, Toy()).set_index("language"))


def test_sentences_of_seven_languages_are_told():
    found = languages.table({name: [text] for name, text in SENTENCES.items()}, 0).set_index("language")
    assert {name: found.loc[name, name] for name in SENTENCES} == dict.fromkeys(SENTENCES, 1)


@pytest.mark.parametrize("error", [ImportError("no module"), RuntimeError("broken"), None])
def test_the_report_is_complete_without_languages(
    tmp_path: Path, error: Exception | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def fail() -> None:
        raise error

    if error:
        monkeypatch.setattr(languages, "_library", fail)
    manifest = pack(tmp_path, rows())
    splits = {name: arrays.read_split(tmp_path / "arrays", name) for name in manifest.counts}
    monkeypatch.setattr(text_report, "ARRAYS", str(tmp_path / "arrays"))
    text_report.write(tmp_path, splits, manifest, 0)
    assert (tmp_path / "samples.csv").exists() and (tmp_path / "languages.csv").exists() == (error is None)
    printed = capsys.readouterr().err
    assert (str(error) in printed and printed.count("\n") == 1) if error else not printed
    if not error:
        assert pd.read_csv(tmp_path / "languages.csv")[["train", "val", "test"]].sum().tolist() == [16, 4, 4]
