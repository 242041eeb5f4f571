import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from darkroom.evaluate import out_of_distribution


def images(count: int, shape: tuple[int, ...] = (28, 28, 1)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 48, 3), (9, 11, 1), (3, 2, 1), (1, 1, 3)])
def test_stand_ins_are_like_the_images_and_reproducible(shape: tuple[int, int, int]):
    given = images(7, shape)
    before = given.copy()
    found, again = out_of_distribution.stand_ins(given), out_of_distribution.stand_ins(given)
    assert list(found) == ["noise", "blocks", "tiles", "photos"]
    for kind, made in found.items():
        assert (made.shape, made.dtype) == (given.shape, np.uint8)
        np.testing.assert_array_equal(made, again[kind])
    np.testing.assert_array_equal(given, before)


def test_at_most_1000_of_a_kind():
    assert {len(made) for made in out_of_distribution.stand_ins(images(1003, (4, 4, 1))).values()} == {1000}


def test_tiles_are_parts_of_one_image_in_another_order():
    given = images(5, (9, 8, 3))  # tiles of 2 x 2, and a last row that stays
    made = out_of_distribution.stand_ins(given)["tiles"]
    for image, shuffled in zip(given, made, strict=True):
        tiles, others = (
            [some[row : row + 2, column : column + 2].tobytes() for row in range(0, 8, 2) for column in range(0, 8, 2)]
            for some in (image, shuffled)
        )
        assert tiles != others and sorted(tiles) == sorted(others)
        np.testing.assert_array_equal(shuffled[8], image[8])


def test_photos_are_not_uniform():
    assert min(out_of_distribution.stand_ins(images(20))["photos"].std(axis=(1, 2, 3))) > 1


def test_summary_by_hand():
    confidence = np.array([0.9, 0.8, 0.5])
    others = {"noise": np.array([0.1, 0.5]), "tiles": np.array([0.95, 0.85])}
    assert out_of_distribution.summary(confidence, others, 0.9) == {
        "ood_auroc": pytest.approx((5.5 / 6 + 1 / 6) / 2),
        "ood_auroc_noise": pytest.approx(5.5 / 6),
        "ood_auroc_tiles": pytest.approx(1 / 6),
        "ood_answered": 0.25,
        "ood_answered_noise": 0.0,
        "ood_answered_tiles": 0.5,
    }
    assert out_of_distribution.summary(confidence, others, None)["ood_answered"] == 0


def test_the_area_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    confidence, others = random.integers(0, 20, 200) / 20, random.integers(0, 15, 100) / 20
    found = out_of_distribution.summary(confidence, {"noise": others}, 0.5)["ood_auroc_noise"]
    assert found == pytest.approx(roc_auc_score([1] * 200 + [0] * 100, np.concatenate([confidence, others])))
