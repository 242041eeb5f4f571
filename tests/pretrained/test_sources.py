import zipfile
from pathlib import Path

import pytest

from darkroom.core.errors import DarkroomError
from darkroom.pretrained import descriptions, sources
from tests.pretrained.weights import put

CONTENTS = b"contents of weights"
PACKAGE = {"package": "tiny-weights", "version": "1.0", "member": "tiny_weights/model.pth"}


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only place where pip looks."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(
    folder: Path, contents: bytes, member: str = PACKAGE["member"], name: str = PACKAGE["package"].replace("-", "_")
) -> None:
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, contents)
        wheel.writestr("tiny_weights/__init__.py", "raise SystemExit('it was executed')")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def fetch(tmp_path: Path) -> tuple[Path, str]:
    (tmp_path / "scratch").mkdir(exist_ok=True)
    return sources.fetch(descriptions.load("tiny"), tmp_path / "scratch")


def test_the_users_own_file_comes_first(tmp_path: Path):
    folder = put("tiny", CONTENTS, "model.pth", sources=[PACKAGE])
    path, source = fetch(tmp_path)
    assert (
        path.read_bytes() == CONTENTS
        and str(folder.relative_to(tmp_path) if folder.is_absolute() else folder) in source
    )


@pytest.mark.parametrize("other", [CONTENTS[:-1], CONTENTS + b"x", b"c" + CONTENTS[1:-1] + b"S"])
def test_a_file_that_differs_by_one_byte_is_refused(tmp_path: Path, other: bytes):
    (put("tiny", CONTENTS, "model.pth") / "model.pth").write_bytes(other)
    with pytest.raises(DarkroomError, match=r"tiny/model\.pth has .* expected"):
        fetch(tmp_path)


def test_one_file_of_a_wheel_is_extracted_and_nothing_is_executed(tmp_path: Path, wheels: Path):
    (put("tiny", CONTENTS, "model.pth", sources=[PACKAGE]) / "model.pth").unlink()
    write_wheel(wheels, CONTENTS)
    path, source = fetch(tmp_path)
    assert path.read_bytes() == CONTENTS and "tiny-weights 1.0" in source


@pytest.mark.parametrize(
    ("contents", "member", "fact"),
    [
        (None, "", "pip: "),
        (CONTENTS + b"x", PACKAGE["member"], "20 bytes, expected 19"),
        (CONTENTS[::-1], PACKAGE["member"], "SHA-256"),
        (CONTENTS, "tiny_weights/other.pth", "no file tiny_weights/model.pth"),
    ],
)
def test_a_source_that_fails_is_named_with_the_reason(
    tmp_path: Path, wheels: Path, contents: bytes | None, member: str, fact: str
):
    (put("tiny", CONTENTS, "model.pth", sources=[PACKAGE]) / "model.pth").unlink()
    if contents is not None:
        write_wheel(wheels, contents, member)
    with pytest.raises(DarkroomError) as caught:
        fetch(tmp_path)
    assert "tiny-weights 1.0" in str(caught.value) and fact in str(caught.value)
    assert "put model.pth into data/pretrained/tiny" in str(caught.value)


def test_what_a_failed_source_left_does_not_disturb_the_next(tmp_path: Path, wheels: Path):
    """The first wheel lacks the file, and its name comes before that of the second in every listing."""
    first = {"package": "a-weights", "version": "1.0", "member": PACKAGE["member"]}
    (put("tiny", CONTENTS, "model.pth", sources=[first, PACKAGE]) / "model.pth").unlink()
    write_wheel(wheels, CONTENTS[::-1], name="a_weights")
    write_wheel(wheels, CONTENTS)
    path, source = fetch(tmp_path)
    assert path.read_bytes() == CONTENTS and "tiny-weights" in source
