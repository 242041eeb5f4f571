import numpy as np
import pandas as pd
import pytest

from darkroom.explain import faithfulness
from tests.explain.toys import UNSCALED, Spot, noise, pooled, spots


def test_a_perfect_order_changes_the_prediction_at_once():
    images = spots()
    perfect = images[..., 0].astype(np.float32)
    maps = {"perfect": perfect, "worst": -perfect}
    curves = faithfulness.curves(Spot(), images, np.array([1, 1]), maps, *UNSCALED, steps=14)
    assert list(curves.columns) == ["method", "fraction", "deletion", "insertion"]
    assert list(curves["method"]) == ["perfect"] * 15 + ["worst"] * 15 + ["random"] * 15
    np.testing.assert_allclose(curves["fraction"][:15], np.arange(15) / 14)
    np.testing.assert_allclose(curves["deletion"][:15], [1] + [0] * 14, atol=1e-9)
    np.testing.assert_allclose(curves["insertion"][:15], [0] + [1] * 14, atol=1e-9)
    perfect, worst, random = (list(score.values()) for score in faithfulness.areas(curves).values())
    np.testing.assert_allclose(perfect, [0.5 / 14, 1 - 0.5 / 14])
    np.testing.assert_allclose(worst, [1 - 0.5 / 14, 0.5 / 14])
    assert perfect[0] < random[0] < worst[0] and perfect[1] > random[1] > worst[1]


def test_a_constant_map_is_about_as_good_as_a_random_order():
    constant = np.ones((3, 14, 14), np.float32)
    maps = {"constant": constant, "by row": np.tile(-np.arange(14 * 14).reshape(14, 14), (3, 1, 1))}
    first, second = (faithfulness.curves(pooled(), noise(), np.array([0, 1, 0]), maps, *UNSCALED) for _ in range(2))
    assert first.equals(second)
    flat, by_row, random = (np.array(list(score.values())) for score in faithfulness.areas(first).values())
    np.testing.assert_allclose(flat, random, atol=0.01)
    assert (flat != by_row).all()


def test_areas_and_summary_by_hand():
    curves = pd.DataFrame(
        {"method": ["grad_cam"] * 3, "fraction": [0, 0.5, 1], "deletion": [1, 0.5, 0], "insertion": [0, 1, 1]}
    )
    areas = faithfulness.areas(curves)
    assert areas == {"grad_cam": {"deletion": 0.5, "insertion": 0.75}}
    assert faithfulness.summary(areas) == {"grad_cam_deletion": 0.5, "grad_cam_insertion": 0.75}


@pytest.mark.parametrize(("insertion", "best"), [(0.9, "grad_cam"), (0.1, "occlusion")])
def test_summary_line_names_the_highest_insertion_score(insertion: float, best: str):
    areas = {
        "grad_cam": {"deletion": 0.5, "insertion": insertion},
        "occlusion": {"deletion": 0.4, "insertion": 0.6},
        "random": {"deletion": 0.0, "insertion": 1.0},
    }
    line = faithfulness.summary_line(areas, 15)
    assert "15 test images" in line and "2 methods" in line
    assert f"{best} {areas[best]['insertion']:.3f}" in line
