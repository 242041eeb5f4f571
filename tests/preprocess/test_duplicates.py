import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.preprocess import duplicates
from darkroom.preprocess.likeness import differences
from darkroom.preprocess.packing import Pack
from darkroom.preprocess.samples import Samples
from tests.preprocess.copies import make_images, shifted

COLUMNS = ["first", "second", "difference", "mirrored"]


def find(images: np.ndarray, limit: float = 0.15, chosen: list[int] | None = None, flip: bool = False) -> pd.DataFrame:
    with Pack(".", images.shape[1:]) as pack:
        for _ in pack.keep((images,)):
            pass
        some = np.arange(len(images)) if chosen is None else np.array(chosen, dtype=np.int64)
        return duplicates.find_pairs(pack, some, limit, flip)


def pairs(table: pd.DataFrame) -> list[list[int]]:
    return table[["first", "second"]].to_numpy().tolist()


def noisy(image: np.ndarray, seed: int, scale: float) -> np.ndarray:
    return np.clip(image + np.random.default_rng(seed).normal(scale=scale, size=image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_pairs_are_sorted_by_difference():
    images = make_images(30)
    images[7] = shifted(images[21], 1, 0)
    images[3] = noisy(images[12], 0, 12)
    found = find(images)
    assert pairs(found) == [[7, 21], [3, 12]]
    assert found.columns.tolist() == COLUMNS and not found["mirrored"].any()
    assert found["difference"].is_monotonic_increasing
    assert pairs(find(images, found["difference"].mean())) == [[7, 21]]


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(14)))
def test_the_pairs_do_not_depend_on_the_order_of_the_images(order: list[int]):
    images = make_images(14)
    images[9], images[4] = shifted(images[2], 1, 1), noisy(images[11], 0, 12)
    found = {frozenset(order[index] for index in pair) for pair in pairs(find(images[order]))}
    assert found == {frozenset({2, 9}), frozenset({4, 11})}


def test_mirrored_copies_are_found_where_flips_keep_the_class():
    images = make_images(30)
    images[7] = images[21, :, ::-1]
    assert find(images).empty
    found = find(images, flip=True)
    assert pairs(found) == [[7, 21]] and found["mirrored"].tolist() == [True]


def test_all_copies_of_an_image_are_found():
    images = make_images(30)
    images[:5] = [noisy(images[20], seed, 12) for seed in range(5)]
    group = [*range(5), 20]
    assert sorted(pairs(find(images))) == [[one, other] for one in group for other in group if one < other]


def test_one_of_many_similar_images_is_no_duplicate():
    """Each of 60 images of a crowd is as near to several others as to any one."""
    random = np.random.default_rng(0)
    kinds = make_images(9) - 128.0
    weights = np.hstack([np.ones((60, 1)), random.uniform(-0.1, 0.1, (60, 8))])
    crowd = np.clip(np.einsum("nk,khwc->nhwc", weights, kinds) + 128, 0, 255).astype(np.uint8)
    assert np.median(differences(crowd[:30], crowd[30:])) < 0.4 and find(crowd, 0.4).empty
    crowd[17] = crowd[40]
    assert pairs(find(crowd, 0.4)) == [[17, 40]]


def test_only_chosen_images_are_compared():
    images = np.repeat(make_images(2), 3, axis=0)
    assert pairs(find(images, chosen=[1, 2, 4])) == [[1, 2]]
    for found in (find(images, 0.0), find(images, chosen=[]), find(images, chosen=[3]), find(images[:1])):
        assert found.empty
        assert found.columns.tolist() == COLUMNS


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (2, 2, 1), (3, 40, 1), (64, 64, 3)])
def test_images_of_any_size(shape: tuple[int, int, int]):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    images[2] = images[0]
    assert [0, 2] in pairs(find(images)) or shape[:2] == (1, 1)  # a constant image is reported by another rule


def test_the_pair_table_holds_id_split_and_class():
    samples = Samples(
        np.array(["a", "b", "c"]), np.array([0, 1, 1]), np.array(["train", "val", "test"]), np.full(3, "")
    )
    table = pd.DataFrame({"first": [0], "second": [2], "difference": [0.123456], "mirrored": [True]})
    named = duplicates.pair_table(table, samples, ("shirt", "coat"))
    assert named.to_dict("records") == [
        {
            **{"first": "a", "first_split": "train", "first_label": "shirt"},
            **{"second": "c", "second_split": "test", "second_label": "coat"},
            **{"difference": 0.1235, "mirrored": True},
        }
    ]
    assert duplicates.pair_table(table[:0], samples, ("shirt", "coat")).columns.tolist() == named.columns.tolist()
