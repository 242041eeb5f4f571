"""Tables of texts and their predictions."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from darkroom.predict import batch
from tests import text_bundles
from tests.text_bundles import ANSWERS, GERMAN

QUESTIONS = {"my card": "Post.", "my pin": "App."}
TEXTS = ("card card", "my pin pin", "card money", "", "卡 卡 卡")


def predict(folder: Path, *options: str, **bundle: object) -> tuple[list[dict[str, str]], str]:
    """The rows of the table of predictions for TEXTS, and its header."""
    text_bundles.write(folder / "bundle", **bundle)
    with (folder / "questions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "text"), *enumerate(TEXTS)])
    output = folder / "predictions.csv"
    with pytest.raises(SystemExit, match=r"^0$"):
        names = [str(folder / "questions.csv"), "--bundle", str(folder / "bundle"), "--output", str(output)]
        batch.main([*names, *options])
    with output.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        return list(reader), ",".join(reader.fieldnames)


def test_answers_are_those_of_the_service(tmp_path: Path):
    rows, header = predict(tmp_path)
    assert header == "row,label,confidence,abstained,answer,error,bundle"
    assert [row["label"] for row in rows] == ["card", "pin", "card", "", "card"]
    assert [row["abstained"] for row in rows] == ["false", "false", "true", "", "false"]
    assert [row["answer"] for row in rows] == [ANSWERS["card"], ANSWERS["pin"], "", "", ANSWERS["card"]]
    assert [row["row"] for row in rows] == [f"{tmp_path}/questions.csv:{number}" for number in range(1, 6)]
    assert rows[3]["error"]


def test_the_language_of_the_answers_can_be_chosen(tmp_path: Path):
    rows, _ = predict(tmp_path, "--language", "de-AT")
    assert [row["answer"] for row in rows[:2]] == [GERMAN["card"], ANSWERS["pin"]]


def test_the_most_similar_question_stands_beside_the_intent(tmp_path: Path):
    rows, header = predict(tmp_path, "--top-k", "2", "--sets", "marginal", questions=QUESTIONS)
    assert header == (
        "row,label,confidence,abstained,answer,faq_question,faq_answer,faq_similarity,set,label_2,confidence_2,error,"
        "bundle"
    )
    assert [row["faq_question"] for row in rows] == ["my card", "my pin", "my card", "", "my card"]
    assert [row["faq_answer"] for row in rows[:2]] == ["Post.", "App."]
    assert [float(row["faq_similarity"]) for row in rows[:3]] == pytest.approx([1, 1, np.sqrt(0.5)], abs=1e-5)
    assert json.loads(rows[2]["set"]) == ["card", "money"]


def test_a_file_whose_name_is_not_unicode_has_rows_and_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    text_bundles.write("models/bundle")
    name, output = map(os.fsdecode, (b"q\xff.jsonl", b"out\xff.csv"))
    Path(name).write_text('{"text": "my card"}\n{"text": 7}\n', encoding="utf-8")
    for _ in range(2):
        with pytest.raises(SystemExit, match=r"^0$"):
            batch.main([name, "--output", output])
        with open(output, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["row"], row["error"]) for row in rows] == [("q\\udcff.jsonl:1", ""), ("q\\udcff.jsonl:2", "")]


def test_an_interrupted_table_is_continued(tmp_path: Path):
    whole, _ = predict(tmp_path, questions=QUESTIONS)
    path = tmp_path / "predictions.csv"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    assert predict(tmp_path, questions=QUESTIONS)[0] == whole


def test_a_folder_is_classified_again_after_its_own_table(tmp_path: Path):
    predict(tmp_path)
    options = ["--bundle", str(tmp_path / "bundle"), "--output", str(tmp_path / "predictions.csv")]
    before = (tmp_path / "predictions.csv").read_bytes()
    with pytest.raises(SystemExit, match=r"^0$"):
        batch.main([str(tmp_path), *options])
    assert (tmp_path / "predictions.csv").read_bytes() == before


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path):
    text_bundles.write(tmp_path / "bundle")
    (tmp_path / "questions.csv").symlink_to("missing")
    options = ["--bundle", str(tmp_path / "bundle"), "--output", str(tmp_path / "predictions.csv")]
    with pytest.raises(SystemExit, match=r"questions\.csv cannot be read"):
        batch.main([str(tmp_path / "questions.csv"), *options])
