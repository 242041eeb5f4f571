import csv
import io
import json
import re

import pytest

from darkroom.core.errors import DarkroomError
from darkroom.datasets.listing import MANIFESTS
from darkroom.datasets.manifest import columns
from tests.datasets.image_folder import FOLDER, build, error_message, rows, summary, write_images

pytestmark = pytest.mark.usefixtures("folder")


def manifest(*entries: dict, name: str = "manifest.csv") -> None:
    if name.endswith("jsonl"):
        (FOLDER / name).write_text("\n".join(json.dumps(entry) for entry in entries))
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for entry in entries for key in entry)))
    writer.writeheader()
    writer.writerows(entries)
    (FOLDER / name).write_text(text.getvalue(), newline="")


def listed() -> list[tuple[str, str, str, str]]:
    """Path, label, split and group of each entry."""
    return [(entry.path, entry.label, entry.split, entry.group) for entry in build()]


@pytest.mark.parametrize("name", [*MANIFESTS, "Manifest.CSV"])
def test_a_manifest_names_path_label_split_and_group(name: str):
    write_images("a.png", "deep/b, c\n.png", "not listed.png")
    manifest(
        {"label": "one", "path": "a.png", "split": "test", "group": "Ann", "more": 1},
        {"label": "2", "path": "deep/b, c\n.png", "split": ""},
        name=name,
    )
    assert listed() == [("a.png", "one", "test", "Ann"), ("deep/b, c\n.png", "2", "", "")]


@pytest.mark.parametrize(
    "header",
    [
        "path,label,split,group",
        "Path,LABEL,Split,Group",
        " path , label,\tsplit , group ",
        "\ufeffpath,label,split,group",
    ],
)
def test_headers_and_values_are_stripped_and_matched_without_case(header: str):
    write_images("a.png", "b.png", "c.png")
    (FOLDER / "manifest.csv").write_text(
        f"{header}\na.png , cat,Test,g1\nb.png,\u00a0cat ,TRAINING, g3\nc.png,dog , valid ,G3 \n"
    )
    problem = error_message()  # g3 and G3 are one group
    assert "'g3'" in problem and "train and val" in problem
    (FOLDER / "manifest.csv").write_text(
        f"{header}\na.png , cat,Test,g1\nb.png,\u00a0cat ,TRAINING, g3\nc.png,dog , train ,G3 \n"
    )
    assert listed() == [
        ("a.png", "cat", "test", "g1"),
        ("b.png", "cat", "train", "g3"),
        ("c.png", "dog", "train", "g3"),
    ]


def test_a_path_with_blanks_at_its_end_is_found():
    write_images("a.png ", "b.png")
    (FOLDER / "manifest.csv").write_text("path,label\na.png ,x\nb.png ,y\n")
    assert [(entry.path, entry.problem) for entry in build()] == [("a.png ", ""), ("b.png", "")]


@pytest.mark.parametrize("key", ["Split", " split"])
def test_keys_of_json_lines_are_matched_without_case(key: str):
    write_images("a.png", "b.png")
    manifest({"Path": "a.png", "label ": "x", key: "test"}, {"path": "b.png", "label": "y"}, name="manifest.jsonl")
    assert listed() == [("a.png", "x", "test", ""), ("b.png", "y", "", "")]


@pytest.mark.parametrize(("number", "label"), [("0", "0"), ("1.5", "1.5"), ("true", "true"), ('"0.0"', "0.0")])
def test_labels_of_json_lines_may_be_numbers(number: str, label: str):
    write_images("a.png", "b.png")
    lines = [f'{{"path": "a.png", "label": {number}}}', '{"path": "b.png", "label": "zzz"}']
    (FOLDER / "manifest.jsonl").write_text("\n".join(lines))
    assert [entry.label for entry in build()] == [label, "zzz"]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("first", ["", "sep={}\n"])
def test_other_separators_are_recognised(delimiter: str, first: str):
    write_images("a.png", "b,c.png")
    text = f"{first.format(delimiter)}Path{delimiter} label\na.png{delimiter}x, y\nb,c.png{delimiter}z\n"
    (FOLDER / "manifest.csv").write_text(text)
    assert rows() == [("a.png", "x, y", ""), ("b,c.png", "z", "")]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_quoted_headers_with_other_separators_are_recognised(delimiter: str):
    write_images("a.png", "b.png")
    lines = [f'"path"{delimiter}"label"', f'"a.png"{delimiter}"cat"', f'"b.png"{delimiter}"dog"']
    (FOLDER / "manifest.csv").write_text("\n".join(lines) + "\n")
    assert rows() == [("a.png", "cat", ""), ("b.png", "dog", "")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", MANIFESTS)
def test_unicode_encodings_are_recognised(encoding: str, name: str):
    write_images("a.png", "b.png")
    csv_text = "path,label\r\na.png,猫\r\nb.png,día\r\n"
    jsonl_text = '{"path": "a.png", "label": "猫"}\r\n{"path": "b.png", "label": "día"}\r\n'
    (FOLDER / name).write_bytes((csv_text if name.endswith("csv") else jsonl_text).encode(encoding))
    assert [entry.label for entry in build()] == ["猫", "día"]


def test_backslashes_separate_folders_unless_a_file_has_this_name():
    write_images("shoes/1.png", "bags/deep/2.png", "a\\b.png")
    (FOLDER / "manifest.csv").write_text("path,label\nshoes\\1.png,x\nbags\\deep/2.png,y\na\\b.png,y\n")
    assert [(entry.path, entry.problem) for entry in build()] == [
        ("a\\b.png", ""),
        ("bags/deep/2.png", ""),
        ("shoes/1.png", ""),
    ]


@pytest.mark.parametrize("name", MANIFESTS)
def test_other_columns_are_kept(name: str):
    write_images("a.png", "b.png")
    manifest(
        {"path": "a.png", " Site ": " north\n 1 ", "label": "x", "fold": 1},
        {"path": "b.png", " Site ": "", "label": "y", "fold": None},
        name=name,
    )
    assert [json.loads(entry.columns) for entry in build()] == [
        {"Site": "north 1", "fold": "1"},
        {"Site": "", "fold": ""},
    ]


def test_a_folder_of_unlabelled_images_that_the_manifest_does_not_name_is_reported():
    write_images("a.png", "b.png", "Unlabelled/c.png")
    rows = [{"path": f"{letter}.png", "label": letter} for letter in "ab"]
    manifest(*rows)
    assert "Unlabelled/ is not used: manifest.csv names no image in it" in summary()
    manifest(*rows, {"path": "Unlabelled/c.png", "label": ""})
    assert "not used" not in summary()


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.jsonl"])
def test_rows_without_a_label_are_unlabelled(name: str):
    write_images("a.png", "b.png", "c.png", "d.png", "e.png")
    splits = {"c": "", "d": "train", "e": "Unlabeled"}
    images = ({"path": f"{letter}.png", "label": " ", "split": split} for letter, split in splits.items())
    manifest(*({"path": f"{letter}.png", "label": letter, "split": ""} for letter in "ab"), *images, name=name)
    assert [(entry.label, entry.split) for entry in build()] == [("a", ""), ("b", ""), *[("", "unlabelled")] * 3]


def test_unlabelled_rows_may_share_a_group_with_any_split():
    write_images("a.png", "b.png", "c.png")
    rows = [("a", "x", "train", "1"), ("b", "y", "test", "2"), ("c", "", "", "2")]
    manifest(
        *(dict(zip(("path", "label", "split", "group"), (f"{row[0]}.png", *row[1:]), strict=True)) for row in rows)
    )
    assert [entry.group for entry in build()] == ["1", "2", "2"]


def test_a_column_of_long_values_is_not_kept():
    write_images("a.png", "b.png")
    manifest(*({"path": f"{name}.png", "label": name, "fold": 1, "caption": name * 101} for name in "ab"))
    assert "caption" in summary()
    assert [entry.columns for entry in build()] == ['{"fold": "1"}'] * 2


@pytest.mark.parametrize(
    ("name", "text", "fact"),
    [
        ("manifest.csv", "path,class\na.png,x\n", "missing columns: label"),
        ("manifest.csv", "path,lable\na.png,x\n", "lable"),
        ("manifest.csv", "path,label,splits\na.png,x,test\n", "'splits'"),
        ("manifest.csv", "path,label,groups\na.png,x,1\n", "'groups'"),
        ("manifest.csv", "path,label,Split,split\na.png,x,,test\n", "'Split' and 'split'"),
        ("manifest.csv", "", "missing columns: path, label"),
        ("manifest.csv", "path label\na.png x\n", "missing columns: path, label"),
        ("manifest.csv", "path,label\na.png,\nb.png, \n", "no image with a label: list all classes"),
        ("manifest.csv", "path,label,split\na.png,x,\nb.png,,test\n", "row 2 has no label, but the split 'test'"),
        ("manifest.csv", "path,label,split\na.png,x,unlabelled\n", "row 1 has the split 'unlabelled'"),
        ("manifest.csv", "path,label\na.png,x\n ,y\n", "row 2 has no path"),
        ("manifest.csv", "path,label\na.png,x\na,b.png,y\n", "row 2 has 3 values"),
        ("manifest.csv", "path,label\na.png,x\na.png,y\n", "row 2 has the same path 'a.png' as row 1"),
        ("manifest.csv", "path,label\na.png,x\n./a.png,y\n", "row 2 has the same path './a.png' as row 1"),
        ("manifest.csv", "path,label,split\na.png,x,holdout\n", "row 1 has the split 'holdout'"),
        ("manifest.csv", "path,label\n../a.png,x\n", "row 1 has the path '../a.png'"),
        ("manifest.csv", "path,label\n..\\a.png,x\n", "row 1 has the path '..\\\\a.png'"),
        ("manifest.csv", "path,label\n/etc/passwd,x\n", "row 1 has the path '/etc/passwd'"),
        ("manifest.csv", "path,label\nC:\\photos\\a.png,x\n", "row 1 has the path 'C:\\\\photos\\\\a.png'"),
        ("manifest.csv", "path,label\na.png,día\n".encode("latin-1"), "UTF-8"),
        ("manifest.csv", b"path,label\n\xff\xfe,x\n", "manifest.csv cannot be read ("),
        ("manifest.csv", b"PK\x03\x04\x14\0\x06\0 a workbook", "manifest.csv cannot be read ("),
        ("manifest.csv", "path,label\na.png,disc\nb.png,Disc \n", "'Disc' and 'disc'"),
        ("manifest.csv", "path,label\na.png,1\nb.png,1.0\n", "'1' and '1.0'"),
        ("manifest.csv", "path,label\na.png,1e3\nb.png,1000\n", "'1000' and '1e3'"),
        ("manifest.jsonl", '{"path": "a.png"', "manifest.jsonl cannot be read ("),
        ("manifest.jsonl", "[1]", "row 1"),
        ("manifest.jsonl", '{"path": "a.png", "label": null}', "no image with a label: list all classes"),
        ("manifest.jsonl", '{"path": "a.png", "label": ["cat"]}', "row 1 has the label ['cat']"),
        ("manifest.jsonl", '{"path": "a.png", "label": "x", "group": {"id": 1}}', "row 1 has the group {'id': 1}"),
        ("manifest.jsonl", '{"path": "a.png", "label": "x", "splits": "test"}', "'splits'"),
        ("manifest.jsonl", '{"path": "a.png", "label": 0}\n{"path": "b.png", "label": 0.0}', "'0' and '0.0'"),
    ],
)
def test_an_error_in_a_manifest_is_named(name: str, text: str | bytes, fact: str):
    (FOLDER / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert fact in error_message()


@pytest.mark.parametrize("key", ["group", "note"])
def test_half_a_character_of_a_column_is_named(key: str):
    write_images("a.png")
    (FOLDER / "manifest.jsonl").write_text(f'{{"path": "a.png", "label": "cat", "{key}": "x\\ud83d"}}')
    with pytest.raises(DarkroomError, match=r"row 1: .*is not valid Unicode"):
        build()


def test_a_listed_file_that_is_missing_is_marked():
    write_images("a.png", "b.png")
    manifest(*({"path": f"{name}.png", "label": name} for name in "abc"))
    first, second, third = (entry.problem for entry in build())
    assert (first, second) == ("", "") and "missing" in third


@pytest.mark.parametrize("splits", [("train", "test"), ("", "test"), ("val", "")])
def test_a_group_in_two_splits_is_an_error(splits: tuple[str, str]):
    manifest(*({"path": f"{split}.png", "label": split or "none", "split": split, "group": "Ann"} for split in splits))
    assert "the group 'Ann' is in" in error_message()


def test_two_manifests_are_an_error():
    for name in MANIFESTS:
        manifest({"path": "a.png", "label": "a"}, name=name)
    assert re.search(r"manifest\.csv and manifest\.jsonl", error_message())


def test_the_columns_that_are_kept_are_the_group_and_the_other_ones():
    assert columns(FOLDER) == []
    manifest(
        {"path": "a", "label": "x", "site": 1, "group": "g", "note": "n" * 200}, {"path": "b", "label": "y", "age": 2}
    )
    assert columns(FOLDER) == ["group", "age", "site"]
