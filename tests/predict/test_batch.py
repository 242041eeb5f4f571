import contextlib
import csv
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.predict import batch
from darkroom.predict.table import opened
from tests import bundles

ROOT = Path(__file__).parents[2]
HEADER = ["path", "label", "confidence", "abstained", "error", "bundle"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    bundles.write("bundle")


def picture(path: str | bytes, value: int = 0) -> None:
    """Writes a grey PNG of one colour."""
    if folder := os.path.dirname(path):
        os.makedirs(folder, exist_ok=True)
    with open(path, "wb") as file:
        Image.new("L", (4, 4), value).save(file, "PNG")


def run(*arguments: str) -> int | str:
    """What the command ends with: a number, or the sentence that it prints."""
    with pytest.raises(SystemExit) as ended:
        batch.main(["bundle", "--threads", "1", *arguments])
    return ended.value.code


def table(path: str = "predictions.csv") -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def paths() -> list[str]:
    return [row["path"] for row in table()]


def test_a_row_says_what_a_picture_is():
    for value in (0, 128, 190, 255):  # 190 lies between medium and bright
        picture(f"pictures/{value:03}.png", value)
    assert run("pictures") == 0
    rows = table()
    assert list(rows[0]) == HEADER
    assert [row["label"] for row in rows] == ["dark", "medium", "medium", "bright"]
    assert [row["abstained"] for row in rows] == ["false", "false", "true", "false"]
    images = np.full((1, 4, 4, 1), 190, np.uint8)
    assert float(rows[2]["confidence"]) == pytest.approx(bundles.answers(images, 3)[1].max(), rel=1e-5)
    assert {row["bundle"][12:] for row in rows} == {"-fp32"} and {row["error"] for row in rows} == {""}


def test_without_a_threshold_every_answer_is_withheld():
    bundles.write("bundle", threshold=None)
    picture("a.png")
    assert run("a.png") == 0 and table()[0]["abstained"] == "true"


def test_further_classes_have_columns():
    picture("a.png", 120)
    assert run("a.png", "--top-k", "3") == 0
    row = table()[0]
    assert list(row) == [*HEADER[:4], "label_2", "confidence_2", "label_3", "confidence_3", *HEADER[4:]]
    assert [row[name] for name in ("label", "label_2", "label_3")] == ["medium", "dark", "bright"]
    assert sum(float(row[name]) for name in ("confidence", "confidence_2", "confidence_3")) == pytest.approx(
        1, abs=1e-5
    )
    assert "--top-k is 4, but bundle has 3 classes" in run("a.png", "--top-k", "4", "--output", "other.csv")


def test_a_folder_is_searched_in_any_depth_for_pictures(capsys: pytest.CaptureFixture):
    for path in (
        "in/b.png",
        "in/B.JPG",
        "in/a/z.webp",
        "in/a/deep/er/x.tiff",
        "in/c.png/y.gif",
        "in/.hidden.png",
        "in/.hidden/x.png",
        "in/._b.png",
    ):
        picture(path)
    Path("in/notes.txt").write_text("no picture")
    Path("in/circle").symlink_to("..")
    assert run("in") == 0
    assert paths() == ["in/B.JPG", "in/b.png", "in/a/z.webp", "in/a/deep/er/x.tiff", "in/c.png/y.gif"]
    assert capsys.readouterr().out == (
        "predictions.csv has 5 pictures, 0 of them unusable (see the column error); 5 are new, 0 were done before; 5 other files left out\n"
    )


def test_a_file_comes_once_though_it_is_named_twice():
    for path in ("in/a.png", "in/b.png", "in/deep/c.png", "d.data"):
        picture(path)
    assert run("in/b.png", "d.data", "./in", "in/", "in/deep", "d.data", "in/*.png") == 0
    assert paths() == ["d.data", "in/a.png", "in/b.png", "in/deep/c.png"]


def test_a_quoted_pattern_is_expanded():
    for path in ("in/a.png", "in/b.jpg", "in/deep/c.png", "in/deep/d[1].png", "in/.hidden.png", "in/.hidden/e.png"):
        picture(path)
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
def test_a_missing_path_ends_the_command_before_anything_runs(path: str):
    picture("a.png")
    assert "is missing: name a file" in run("a.png", path)
    assert not Path("predictions.csv").exists()


def test_a_folder_without_pictures_is_refused():
    os.mkdir("empty")
    assert run("empty").startswith("predict: empty: there is no picture")
    assert not Path("predictions.csv").exists()


def test_a_missing_bundle_is_told():
    picture("a.png")
    with pytest.raises(SystemExit, match=r"predict: .*nowhere.* is missing"):
        batch.main(["nowhere", "a.png"])


def test_a_bad_file_is_a_row_and_fails_no_other(capsys: pytest.CaptureFixture):
    picture("in/good.png", 255)
    Path("in/bad.png").write_bytes(b"no picture")
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
    assert {path for path, row in rows.items() if not row["error"]} == {"in/good.png"} and rows["in/good.png"][
        "label"
    ] == "bright"
    assert len(rows) == 9 and all(
        row["label"] == row["confidence"] == row["abstained"] == "" for row in rows.values() if row["error"]
    )
    assert (
        rows["in/empty.png"]["error"] == "it is empty"
        and "no file" in rows["in/pipe.png"]["error"]
        and "bytes, more than" in rows["in/huge.png"]["error"]
    )
    assert "No such file" in rows["in/nowhere.png"]["error"] and "symbolic links" in rows["in/itself.png"]["error"]
    assert "9 pictures, 8 of them unusable" in capsys.readouterr().out


def test_a_folder_that_cannot_be_listed_is_a_row(monkeypatch: pytest.MonkeyPatch):
    picture("in/a.png")
    picture("in/locked/b.png")
    listed = os.scandir

    def refuse(path: str) -> os.scandir:
        if path == "in/locked":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr("os.scandir", refuse)
    assert run("in") == 0 and paths() == ["in/a.png", "in/locked"] and "cannot be listed" in table()[1]["error"]


def test_nothing_but_bad_files_ends_with_1():
    Path("bad.png").write_bytes(b"no picture")
    assert run("bad.png") == 1 and len(table()) == 1
    assert run("bad.png") == 1 and len(table()) == 1


def test_pictures_that_have_a_row_are_not_looked_at_again(capsys: pytest.CaptureFixture):
    picture("in/b.png", 255)
    assert run("in") == 0
    picture("in/a.png")
    Path("in/b.png").write_bytes(b"changed since")
    assert run("in") == 0
    assert paths() == ["in/b.png", "in/a.png"] and [row["label"] for row in table()] == ["bright", "dark"]
    assert (
        "has 2 pictures, 0 of them unusable (see the column error); 1 are new, 1 were done before"
        in capsys.readouterr().out
    )
    before = Path("predictions.csv").read_bytes()
    assert run("in") == 0 and Path("predictions.csv").read_bytes() == before


NAMES = (
    "plain",
    'com,ma "quoted"',
    "two\nlines",
    "carriage\rreturn",
    "\r\n",
    " spaces ",
    "größe 影",
    "\t\x85\u2028",
    "=1",
    "\\",
)


def test_a_table_cut_anywhere_is_completed_to_the_same_bytes():
    for place, name in enumerate(NAMES):
        picture(f"in/{name}.png", 25 * place)
    picture(b"in/no-utf8-\xff.png")
    Path("in/bad.png").write_bytes(b"no picture")
    assert run("in") == 0
    whole = Path("predictions.csv").read_bytes()
    assert sorted(path for path in paths() if path not in ("in/bad.png", "in/no-utf8-\\udcff.png")) == sorted(
        f"in/{name}.png" for name in NAMES
    )
    for size in range(0, len(whole), 11):
        Path("predictions.csv").write_bytes(whole[:size])
        assert run("in") == 0 and Path("predictions.csv").read_bytes() == whole


def test_another_table_is_refused_and_left_as_it_was():
    picture("a.png")
    assert run("a.png") == 0
    ours = Path("predictions.csv").read_bytes()
    bundles.write("bundle", threshold=0.5)
    others = {
        "answers of the bundle": ours,
        "its columns are not path, label": b"id,label\n1,cat\n",
        "it is no table of predictions": b"notes",
        "row 2 has 1 columns": ours.splitlines(keepends=True)[0] + b"x\n",
        "expected after": ours.splitlines(keepends=True)[0] + b'"a"b,,,,,\nx\n',
    }
    for reason, contents in others.items():
        Path("predictions.csv").write_bytes(contents)
        said = run("a.png")
        assert reason in said and said.endswith("name another --output, or move it away.")
        assert Path("predictions.csv").read_bytes() == contents


def test_other_columns_are_refused():
    picture("a.png")
    assert run("a.png") == 0
    assert "its columns are not path, label, confidence, abstained, label_2" in run("a.png", "--top-k", "2")


def test_two_runs_do_not_write_the_same_table():
    picture("a.png")
    with opened("predictions.csv", HEADER, "v"):
        assert "being written by another run" in run("a.png")


@pytest.mark.parametrize("output", ["bundle", "/dev/zero"])
def test_an_output_that_is_no_file_is_refused(output: str):
    picture("a.png")
    assert (
        run("a.png", "--output", output)
        == f"predict: {output} is no file: name another --output, or - to print the table."
    )


def test_a_full_disk_is_told_and_the_same_command_goes_on():
    for place in range(100):
        picture(f"in/{place:03}.png", place)
    assert run("in", "--output", "whole.csv") == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        said = run("in")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (
        said
        == "predict: predictions.csv cannot be written (File too large): put that right, and the same command goes on."
    )
    assert os.path.getsize("predictions.csv") == 2000 and run("in") == 0
    assert Path("predictions.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_a_dash_prints_the_table(capfdbinary: pytest.CaptureFixture):
    picture("a.png")
    assert run("a.png", "--output", "-") == 0
    printed = capfdbinary.readouterr()
    assert (
        printed.out.startswith(b"path,label,confidence,abstained,error,bundle\na.png,dark,")
        and printed.out.count(b"\n") == 2
    )
    assert b"1 pictures" in printed.err and not Path("-").exists() and not Path("predictions.csv").exists()


def test_a_reader_of_the_table_may_stop():
    picture("a.png")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "darkroom.predict", "bundle", "a.png", "--output", "-"]
    ended = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_each_of_several_blocks_has_its_own_answers():
    values = np.random.default_rng(0).integers(0, 256, 100)
    for place, value in enumerate(values):
        picture(f"in/{place:03}.png", int(value))
        if place % 7 == 3:
            Path(f"in/{place:03}-bad.png").touch()
    assert run("in") == 0
    rows = [row for row in table() if not row["error"]]
    assert len(table()) == 114 and [row["path"] for row in rows] == [f"in/{place:03}.png" for place in range(100)]
    expected = bundles.answers(np.broadcast_to(values[:, None, None, None], (100, 4, 4, 1)), 3)[1]
    assert [row["label"] for row in rows] == [bundles.CLASSES[best] for best in expected.argmax(1)]
    assert [float(row["confidence"]) for row in rows] == pytest.approx(expected.max(1).tolist(), rel=1e-4)


def test_killed_again_and_again_it_ends_in_the_same_table():
    for place in range(300):
        picture(f"in/{place:03}, \n.png", place % 256)
    assert run("in", "--output", "whole.csv") == 0
    command = [sys.executable, "-m", "darkroom.predict", "bundle", "in", "--threads", "1"]
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


def test_it_starts_without_pytorch():
    heavy = ("torch", "pandas", "scipy", "matplotlib", "sklearn")
    code = (
        f"import sys, darkroom.predict, darkroom.bundle.drift; print([name for name in {heavy} if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
