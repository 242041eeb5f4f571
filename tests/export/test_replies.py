"""Tests of answers.csv."""

from pathlib import Path

import pytest

from darkroom.core.errors import DarkroomError
from darkroom.export import replies

CLASSES = ("card", "pin")


def table(folder: Path, contents: str) -> Path:
    (folder / "answers.csv").write_text(contents, encoding="utf-8")
    return folder / "answers.csv"


def test_answers_by_class_and_language(tmp_path: Path):
    contents = '\ufeffintent,answer,language\ncard, Soon. ,\ncard,Bald.,DE\npin,"App,\nplease",en\n'
    found = replies.answers(table(tmp_path, contents), CLASSES)
    assert found == {"card": {"": "Soon.", "de": "Bald."}, "pin": {"en": "App,\nplease"}}


@pytest.mark.parametrize(
    ("contents", "named"),
    [
        ("intent;answer\ncard;a\n", "no column"),
        ("intent,answer\nloan,a\n", "'loan'"),
        ("intent,answer\ncard,\n", "row 1"),
        ("intent,answer\ncard\n", "row 1"),
        ("intent,answer\ncard,a\ncard,b\n", "row 2"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, contents: str, named: str):
    with pytest.raises(DarkroomError) as raised:
        replies.answers(table(tmp_path, contents), CLASSES)
    assert named in str(raised.value) and "\n" not in str(raised.value)
