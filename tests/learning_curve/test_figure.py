import numpy as np
import pytest
from matplotlib.figure import Figure

from darkroom.learning_curve import figure
from darkroom.learning_curve.power_law import Curve, Fit

LABELS, WANTED = np.array([10, 20, 40]), np.array([40.0, 400.0])


def drawn(incorrect: list[int], a: float = 1.0, b: float = 0.5, c: float = 0.0, title: str = "Toy") -> Figure:
    found = Fit(Curve(a, b, c), *(np.array(values) for values in ([0.1, 0.05], [0.05, 0.0], [0.2, 0.2])))
    return figure.draw(LABELS, np.array(incorrect), 100, WANTED, found, title, "accuracy")


def legend(found: Figure) -> list[str]:
    return [text.get_text() for text in found.axes[0].get_legend().get_texts()]


def test_trainings_without_an_error_are_drawn_as_half_a_one():
    assert len(legend(drawn([30, 20, 10]))) == 4
    found = drawn([30, 0, 0])
    assert len(legend(found)) == 5
    (marks,) = [line for line in found.axes[0].lines if line.get_marker() == "v"]
    assert marks.get_xydata().tolist() == [[20, 0.005], [40, 0.005]]
    assert found.axes[0].get_ylim()[0] < 0.005


@pytest.mark.parametrize(
    ("law", "shown"),
    [
        ((2.0, 0.5, 0.0), "law: $2\\,n^{-0.50}$"),
        ((2.0, 0.5, 0.03), "law: $2\\,n^{-0.50} + 0.03$"),
        ((0.2, 0.001, 0.1), "law: 0.3"),
    ],
)
def test_the_law_is_in_the_legend(law: tuple, shown: str):
    assert legend(drawn([30, 20, 10], *law))[0] == shown


def test_a_title_is_no_mathematics_and_the_ticks_are_percentages():
    found = drawn([30, 20, 10], title="$a_")
    found.canvas.draw()
    ticks = [tick.get_text() for tick in found.axes[0].get_yticklabels()]
    assert "10 %" in ticks and "20 %" in ticks
