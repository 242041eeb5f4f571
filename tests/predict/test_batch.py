import contextlib
import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.bundle import classifier
from darkroom.predict import batch
from darkroom.predict.table import opened
from darkroom.serve.settings import Settings
from tests import bundles

ROOT = Path(__file__).parents[2]
BUNDLE = "models/bundle"
HEADER = ["path", "label", "confidence", "abstained", "error", "bundle"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    bundles.write(BUNDLE)


def write_image(path: str | bytes, value: int = 0) -> None:
    """Write a PNG of one grey level."""
    if folder := os.path.dirname(path):
        os.makedirs(folder, exist_ok=True)
    with open(path, "wb") as file:
        Image.new("L", (4, 4), value).save(file, "PNG")


def run(*arguments: str) -> int | str:
    """The exit code of the command, or the message that it prints."""
    with pytest.raises(SystemExit) as ended:
        batch.main(["--threads", "1", *arguments])
    return ended.value.code


def table(path: str = "predictions.csv") -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def counts(printed: str) -> list[int]:
    """The numbers in the command's last line: images, new, classified earlier, unusable, other files."""
    return [int(number) for number in re.findall(r"\b\d+\b", printed)]


def paths() -> list[str]:
    return [row["path"] for row in table()]


def test_a_row_holds_the_prediction_of_an_image():
    for value in (0, 128, 190, 255):  # 190 lies between medium and bright
        write_image(f"photos/{value:03}.png", value)
    assert run("photos") == 0
    rows = table()
    assert list(rows[0]) == HEADER
    assert [row["label"] for row in rows] == ["dark", "medium", "medium", "bright"]
    assert [row["abstained"] for row in rows] == ["false", "false", "true", "false"]
    images = np.full((1, 4, 4, 1), 190, np.uint8)
    assert float(rows[2]["confidence"]) == pytest.approx(bundles.answers(images, 3)[1].max(), rel=1e-5)
    assert {row["bundle"][12:] for row in rows} == {"-fp32"} and {row["error"] for row in rows} == {""}


def test_without_a_threshold_every_prediction_is_withheld(capsys: pytest.CaptureFixture):
    bundles.write(BUNDLE, threshold=None)
    write_image("a.png")
    assert run("a.png") == 0 and table()[0]["abstained"] == "true"
    assert "500 validation examples" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "expected"), [("marginal", ["medium"]), ("class_conditional", ["medium", "bright"])])
def test_prediction_sets_have_a_column(kind: str, expected: list[str]):
    conformal = {"coverage": 0.9, "marginal": 0.9, "class_conditional": [1.0, 1.0, 0.0]}
    bundles.write(BUNDLE, conformal=conformal)
    write_image("a.png", 120)
    Path("b.png").write_text("not an image")
    assert run("a.png", "b.png", "--sets", kind, "--top-k", "2") == 0
    usable, unusable = table()
    assert list(usable) == [*HEADER[:4], "set", "label_2", "confidence_2", *HEADER[4:]]
    assert json.loads(usable["set"]) == expected
    assert unusable["set"] == "" and "image format" in unusable["error"]


def test_further_classes_have_columns():
    write_image("a.png", 120)
    assert run("a.png", "--top-k", "3") == 0
    row = table()[0]
    assert list(row) == [*HEADER[:4], "label_2", "confidence_2", "label_3", "confidence_3", *HEADER[4:]]
    assert [row[name] for name in ("label", "label_2", "label_3")] == ["medium", "dark", "bright"]
    total = sum(float(row[name]) for name in ("confidence", "confidence_2", "confidence_3"))
    assert total == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("top_k", "message"), [("4", "--top-k 4: must be at most 3"), ("0", "at least 1")])
def test_a_number_of_classes_out_of_range_is_a_wrong_option(top_k: str, message: str, capsys: pytest.CaptureFixture):
    write_image("a.png")
    assert run("a.png", "--top-k", top_k) == 2
    assert message in capsys.readouterr().err and not Path("predictions.csv").exists()


def test_a_folder_is_searched_at_any_depth_for_images(capsys: pytest.CaptureFixture):
    for name in ("b.png", "B.JPG", "a/z.webp", "a/deep/er/x.tiff", "c.png/y.gif"):
        write_image(f"in/{name}")
    for name in (".hidden.png", ".hidden/x.png", "._b.png"):
        write_image(f"in/{name}")
    Path("in/notes.txt").write_text("not an image")
    Path("in/circle").symlink_to("..")
    assert run("in") == 0
    assert paths() == ["in/B.JPG", "in/b.png", "in/a/z.webp", "in/a/deep/er/x.tiff", "in/c.png/y.gif"]
    assert counts(capsys.readouterr().out) == [5, 5, 0, 0, 5]


def test_a_file_that_is_named_twice_has_one_row():
    for path in ("in/a.png", "in/b.png", "in/deep/c.png", "d.data"):
        write_image(path)
    assert run("in/b.png", "d.data", "./in", "in/", "in/deep", "d.data", "in/*.png") == 0
    assert paths() == ["d.data", "in/a.png", "in/b.png", "in/deep/c.png"]


def test_a_quoted_pattern_is_expanded():
    for path in ("in/a.png", "in/b.jpg", "in/deep/c.png", "in/deep/d[1].png", "in/.hidden.png", "in/.hidden/e.png"):
        write_image(path)
    Path("in/deep/circle").symlink_to("..")
    assert run("in/**/*.png") == 0
    assert paths() == ["in/a.png", "in/deep/c.png", "in/deep/d[1].png"]
    assert run("in/deep/d[1].png", str(Path("in/*.jpg").absolute()), "in/.h*/*", "--output", "other.csv") == 0
    assert [row["path"] for row in table("other.csv")] == [
        "in/deep/d[1].png",
        str(Path("in/b.jpg").absolute()),
        "in/.hidden/e.png",
    ]


@pytest.mark.parametrize("path", ["missing", "missing/*.png", "", "a**.png"])
def test_a_missing_path_is_reported_before_anything_runs(path: str):
    write_image("a.png")
    assert f"{path!r} does not exist" in run("a.png", path)
    assert not Path("predictions.csv").exists()


def test_a_folder_without_images_is_rejected():
    os.mkdir("empty")
    assert "empty: no images" in run("empty")
    assert not Path("predictions.csv").exists()


def test_a_missing_bundle_is_reported():
    write_image("a.png")
    assert "nowhere/manifest.json is missing" in run("--bundle", "nowhere", "a.png")


def test_another_bundle_can_be_chosen():
    bundles.write("other", threshold=0.5)
    write_image("a.png")
    assert run("--bundle", "other", "a.png") == 0
    bundle = classifier.read("other", threads=1)
    assert table()[0]["bundle"] == f"{bundle.version}-fp32"


def test_the_default_bundle_is_that_of_the_service():
    assert Settings().bundle == Path(batch.DEFAULT_BUNDLE)


@pytest.mark.parametrize("arguments", [["models/bundle"], ["models/bundle", "a.png"]])
def test_a_bundle_as_first_path_is_rejected_with_the_right_option(arguments: list[str]):
    write_image("a.png")
    assert "use --bundle models/bundle" in run(*arguments)
    assert not Path("predictions.csv").exists()


def test_a_folder_of_images_may_hold_a_manifest():
    write_image("in/a.png")
    Path("in/manifest.json").write_text("{}")
    assert run("in") == 0 and paths() == ["in/a.png"]


def test_an_unusable_file_has_a_row_and_does_not_affect_others(capsys: pytest.CaptureFixture):
    write_image("in/good.png", 255)
    Path("in/bad.png").write_bytes(b"not an image")
    Path("in/cut.png").write_bytes(Path("in/good.png").read_bytes()[:40])
    Path("in/empty.png").touch()
    Path("in/nowhere.png").symlink_to("missing")
    Path("in/itself.png").symlink_to("itself.png")
    Path("in/folder.png").symlink_to(".")
    os.mkfifo("in/pipe.png")
    with open("in/huge.png", "wb") as file:
        file.truncate(batch.MAX_BYTES + 1)
    assert run("in") == 0
    rows = {row["path"]: row for row in table()}
    assert len(rows) == 9
    assert {path for path, row in rows.items() if not row["error"]} == {"in/good.png"}
    assert rows["in/good.png"]["label"] == "bright"
    assert {row[name] for row in rows.values() if row["error"] for name in HEADER[1:4]} == {""}
    for path, reason in {
        "in/pipe.png": "not a file",
        "in/huge.png": "bytes, more than",
        "in/nowhere.png": "No such file",
        "in/itself.png": "symbolic links",
    }.items():
        assert reason in rows[path]["error"]
    assert counts(capsys.readouterr().out)[3] == 8


def test_a_folder_that_cannot_be_listed_has_a_row(monkeypatch: pytest.MonkeyPatch):
    write_image("in/a.png")
    write_image("in/locked/b.png")
    listed = os.scandir

    def refuse(path: str) -> os.scandir:
        if path == "in/locked":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr("os.scandir", refuse)
    assert run("in") == 0 and paths() == ["in/a.png", "in/locked"] and "cannot be listed" in table()[1]["error"]


def test_only_unusable_files_exit_with_1():
    Path("bad.png").write_bytes(b"not an image")
    assert run("bad.png") == 1 and len(table()) == 1
    assert run("bad.png") == 1 and len(table()) == 1


def test_images_that_have_a_row_are_skipped(capsys: pytest.CaptureFixture):
    write_image("in/b.png", 255)
    assert run("in") == 0
    write_image("in/a.png")
    Path("in/b.png").write_bytes(b"changed since")
    assert run("in") == 0
    assert paths() == ["in/b.png", "in/a.png"] and [row["label"] for row in table()] == ["bright", "dark"]
    assert counts(capsys.readouterr().out.splitlines()[-1]) == [2, 1, 1, 0, 0]
    before = Path("predictions.csv").read_bytes()
    assert run("in") == 0 and Path("predictions.csv").read_bytes() == before


NAMES = ("plain", 'com,ma "quoted"', "line\nfeed", "cr\rreturn", "\r\n", " spaces ", "größe 影", "\t\x85\u2028")


def test_a_table_cut_anywhere_is_completed_to_the_same_bytes():
    names = (*NAMES, "=1", "\\")
    for index, name in enumerate(names):
        write_image(f"in/{name}.png", 25 * index)
    write_image(b"in/no-utf8-\xff.png")
    Path("in/bad.png").write_bytes(b"not an image")
    assert run("in") == 0
    whole = Path("predictions.csv").read_bytes()
    assert set(paths()) == {"in/bad.png", "in/no-utf8-\\udcff.png", *(f"in/{name}.png" for name in names)}
    for size in range(0, len(whole), 11):
        Path("predictions.csv").write_bytes(whole[:size])
        assert run("in") == 0 and Path("predictions.csv").read_bytes() == whole


def test_another_table_is_rejected_and_unchanged():
    write_image("a.png")
    assert run("a.png") == 0
    ours = Path("predictions.csv").read_bytes()
    bundles.write(BUNDLE, threshold=0.5)
    others = {
        "from bundle": ours,
        "columns are not path, label": b"id,label\n1,cat\n",
        "not a table": b"notes",
        "row 2 has 1 columns": ours.splitlines(keepends=True)[0] + b"x\n",
        "expected after": ours.splitlines(keepends=True)[0] + b'"a"b,,,,,\nx\n',
    }
    for reason, contents in others.items():
        Path("predictions.csv").write_bytes(contents)
        assert reason in run("a.png")
        assert Path("predictions.csv").read_bytes() == contents


def test_other_columns_are_rejected():
    write_image("a.png")
    assert run("a.png") == 0
    assert "columns are not path, label, confidence, abstained, label_2" in run("a.png", "--top-k", "2")


def test_two_runs_do_not_write_the_same_table():
    write_image("a.png")
    with opened("predictions.csv", HEADER, "v"):
        assert "written by another process" in run("a.png")


@pytest.mark.parametrize("output", ["models", "/dev/zero"])
def test_an_output_that_is_not_a_file_is_rejected(output: str):
    write_image("a.png")
    assert f"{output} is not a file" in run("a.png", "--output", output)


def test_a_full_disk_is_reported_and_the_command_resumes():
    for value in range(100):
        write_image(f"in/{value:03}.png", value)
    assert run("in", "--output", "whole.csv") == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        message = run("in")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "predictions.csv cannot be written (File too large)" in message
    assert os.path.getsize("predictions.csv") == 2000 and run("in") == 0
    assert Path("predictions.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_a_dash_prints_the_table(capfdbinary: pytest.CaptureFixture):
    write_image("a.png")
    assert run("a.png", "--output", "-") == 0
    printed = capfdbinary.readouterr()
    assert printed.out.startswith(b"path,label,confidence,abstained,error,bundle\na.png,dark,")
    assert printed.out.count(b"\n") == 2
    assert counts(printed.err.decode())[0] == 1 and not Path("-").exists() and not Path("predictions.csv").exists()


def test_a_reader_of_the_printed_table_may_stop():
    write_image("a.png")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "darkroom.predict", "a.png", "--output", "-"]
    ended = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_each_image_of_several_blocks_has_its_own_prediction():
    values = np.random.default_rng(0).integers(0, 256, 100)
    for index, value in enumerate(values):
        write_image(f"in/{index:03}.png", int(value))
        if index % 7 == 3:
            Path(f"in/{index:03}-bad.png").touch()
    assert run("in") == 0
    rows = [row for row in table() if not row["error"]]
    assert len(table()) == 114 and [row["path"] for row in rows] == [f"in/{index:03}.png" for index in range(100)]
    expected = bundles.answers(np.broadcast_to(values[:, None, None, None], (100, 4, 4, 1)), 3)[1]
    assert [row["label"] for row in rows] == [bundles.CLASSES[best] for best in expected.argmax(1)]
    assert [float(row["confidence"]) for row in rows] == pytest.approx(expected.max(1).tolist(), rel=1e-4)


def test_a_command_that_is_killed_repeatedly_writes_the_same_table():
    for index in range(300):
        write_image(f"in/{index:03}, \n.png", index % 256)
    assert run("in", "--output", "whole.csv") == 0
    command = [sys.executable, "-m", "darkroom.predict", "in", "--threads", "1"]
    kills = 0
    for size in (1, 4_000, 9_000):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        while process.poll() is None and not (
            os.path.exists("predictions.csv") and os.path.getsize("predictions.csv") >= size
        ):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.002)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills and run("in") == 0
    assert Path("predictions.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_files_in_a_folder_are_chosen_by_their_contents(capsys: pytest.CaptureFixture):
    write_image("in/IMG_1.HEIC", 255), write_image("in/without", 255)
    Image.new("L", (4, 4)).save("in/photo.dat", "JPEG")
    Image.new("L", (4, 4)).save("in/scan", "BMP")
    Image.new("L", (4, 4)).save("in/map", "TIFF")
    Path("in/real.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    Path("in/damaged.jpg").write_bytes(b"not an image")
    for name, contents in {"notes": b"BMW and Mercedes", "sound": b"RIFF\0\0\0\0WAVE", "text.pdf": b"%PDF-1.7"}.items():
        Path("in", name).write_bytes(contents)
    os.mkfifo("in/pipe")
    assert run("in") == 0
    rows = {row["path"].removeprefix("in/"): row for row in table()}
    assert {name for name, row in rows.items() if not row["error"]} == {
        "IMG_1.HEIC",
        "without",
        "photo.dat",
        "scan",
        "map",
    }
    assert {name for name, row in rows.items() if row["error"]} == {"real.heic", "damaged.jpg"}
    assert "HEIC" in rows["real.heic"]["error"]
    assert counts(capsys.readouterr().out) == [7, 7, 0, 2, 4]
