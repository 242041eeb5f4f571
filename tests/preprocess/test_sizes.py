import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.preprocess.sizes import MAX_AUTO_SIZE, choose


@pytest.mark.parametrize(
    ("sizes", "size", "facts"),
    [
        ([(28, 28)] * 3, (28, 28), ["28 x 28", "all images"]),
        ([(20, 64)], (20, 64), ["20 x 64", "all images"]),
        ([(20, 65)] * 2, (64, 64), ["64 x 64", "20 x 65"]),
        ([(30, 30), (20, 40)], (64, 64), ["several sizes", "up to 30 x 40"]),
        ([(3000, 4000), (20, 40)], (64, 64), ["several sizes", "up to 3000 x 4000", "224"]),
    ],
)
def test_auto_says_what_it_chose_and_why(sizes: list, size: tuple[int, int], facts: list[str]):
    found, line = choose("auto", np.array(sizes))
    assert found == size
    assert line.startswith("preprocess.image_size = auto: ") and [fact for fact in facts if fact not in line] == []
    assert choose(17, np.array(sizes)) == ((17, 17), "")


@pytest.mark.parametrize(("sizes", "hinted"), [([(28, 28), (27, 28)], False), ([(28, 28), (65, 28)], True)])
def test_only_images_that_become_smaller_lose_detail(sizes: list, hinted: bool):
    assert ("more detail" in choose("auto", np.array(sizes))[1]) == hinted


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=5))
def test_auto_never_enlarges_the_limit(sizes: list):
    (height, width), _ = choose("auto", np.array(sizes))
    assert max(height, width) <= MAX_AUTO_SIZE
