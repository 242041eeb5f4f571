import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from darkroom.review import compare, curves, page, result, revision
from darkroom.review.curves import FILE, Curves
from darkroom.review.revision import WORKSPACE
from tests import reviewed

EARLIER = "epoch,lr,train_loss,val_loss,train_accuracy,val_accuracy\n1,0.1,9,0.5,0.1,0.75\n2,0.1,8,0.25,0.2,0.875\n"
PRESENT = (
    "epoch,lr,train_loss,train_accuracy,batch_loss,batch_accuracy,val_loss,val_accuracy\n1,0.1,0.4,0.8,9,0.1,0.5,0.75\n"
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / FILE).parent.mkdir(parents=True)
    return tmp_path / FILE


def drawn(old: Curves | None, new: Curves | None) -> ElementTree.Element:
    return ElementTree.fromstring(curves.svg(old, new))


def points(picture: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """The points of each line."""
    lines = [line.get("points").split() for line in picture.iter("polyline")]
    return [[tuple(map(float, point.split(","))) for point in line] for line in lines]


def texts(picture: ElementTree.Element) -> list[str]:
    return [text.text for text in picture.iter("text")]


def test_training_is_drawn_only_if_it_was_measured_as_validation_is(file: Path):
    file.write_text(EARLIER)
    earlier = curves.read(WORKSPACE)
    assert {name: values.tolist() for name, values in earlier.items()} == {
        "epoch": [1, 2],
        "val_loss": [0.5, 0.25],
        "val_accuracy": [0.75, 0.875],
    }
    file.write_text(PRESENT)
    present = curves.read(WORKSPACE)
    assert (present["train_loss"].tolist(), present["train_accuracy"].tolist()) == ([0.4], [0.8])
    words = texts(drawn(earlier, present))
    assert [word for word in words if ", v" in word or ", t" in word] == [
        "old, validation",
        "new, validation",
        "new, training",
    ]
    assert len(points(drawn(earlier, present))) == 2 * 3


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"\xff\xfe",
        b"epoch,val_loss,val_accuracy\n",
        b"epoch,val_loss\n1,0.5\n",
        b"epoch,val_loss,val_accuracy\n1,0.5\n",
        b"epoch,val_loss,val_accuracy\n1,0.5,low\n",
        b"epoch,val_loss,val_accuracy\n1,inf,0.5\n",
        b"epoch,val_loss,val_accuracy\n1,0.5,nan\n",
        b"epoch,val_loss,val_accuracy\n1,1e308,0.5\n2,-1e308,0.5\n",
        b"epoch,val_loss,val_accuracy\n2,0.5,0.5\n1,0.5,0.5\n",
        b"epoch,val_loss,val_accuracy,batch_loss\n1,0.5,0.5,1\n",
        EARLIER.encode() + bytes(curves.MAX_BYTES),
    ],
)
def test_curves_that_cannot_be_drawn_are_left_out(file: Path, contents: bytes):
    file.write_bytes(contents)
    assert curves.read(WORKSPACE) is None


def test_without_curves_there_is_no_picture(file: Path):
    assert curves.read(WORKSPACE) is None
    assert curves.svg(None, None) == ""


def test_a_line_falls_from_the_upper_left_to_the_lower_right_with_the_loss():
    loss, accuracy = points(
        drawn({"epoch": np.array([1.0, 2]), "val_loss": np.array([2.0, 1]), "val_accuracy": np.array([0.1, 0.9])}, None)
    )
    assert [x for x, _ in loss] == [x for x, _ in accuracy] == [0, 290]
    assert loss[0][1] < loss[1][1] and accuracy[0][1] > accuracy[1][1]


@given(
    st.lists(
        st.tuples(st.floats(0, 1e30), st.floats(0, 1)),
        min_size=1,
        max_size=500,
    )
)
def test_every_point_lies_in_its_panel(values: list[tuple[float, float]]):
    loss, accuracy = map(np.array, zip(*values, strict=True))
    picture = drawn(None, {"epoch": np.arange(1.0, len(loss) + 1), "val_loss": loss, "val_accuracy": accuracy})
    for line in points(picture):
        assert 1 <= len(line) <= curves.MAX_POINTS
        assert all(-0.1 <= x <= 290.1 and -0.1 <= y <= 170.1 for x, y in line)
    assert not re.search("nan|inf", curves.svg(None, {"epoch": np.arange(1.0, 2), **one(loss, accuracy)}))


def one(loss: np.ndarray, accuracy: np.ndarray) -> dict[str, np.ndarray]:
    return {"val_loss": loss[:1], "val_accuracy": accuracy[:1]}


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
@example(0.0, 0.6)
def test_ticks_are_few_and_evenly_spaced_round_numbers(low: float, distance: float):
    found = curves.ticks(low, low + distance)
    assert 2 <= len(found) <= 6
    steps = np.diff(found)
    assert np.allclose(steps, steps[0], atol=1e-9 * abs(low))
    digits = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-6)
    assert min(abs(digits - digit) for digit in (1, 2, 5, 10)) < 1e-2


def test_the_html_page_shows_the_curves_of_both_sides_if_there_are_any(project: Path):
    def html(new: str) -> str:
        return page.html(compare.compare(*(result.read(revision.find(name)) for name in ("weak", new))))

    assert "<svg" not in html("strong")
    (project / FILE).parent.mkdir()
    (project / FILE).write_text(PRESENT)
    reviewed.commit(project, "with-curves")
    assert html("with-curves").count("<polyline") == 2 * 2


def test_ticks_of_an_example():
    assert curves.ticks(0.17, 0.44) == pytest.approx([0.2, 0.25, 0.3, 0.35, 0.4])
    assert curves.ticks(1, 7) == [2, 4, 6]
