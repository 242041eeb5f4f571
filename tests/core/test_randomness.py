from hypothesis import given
from hypothesis import strategies as st

from darkroom.core.randomness import derive_seed, numpy_generator

counters = st.lists(st.integers(0, 2**40) | st.text(max_size=8), max_size=4)


@given(st.integers(0, 2**32 - 1), counters, counters)
def test_every_stream_has_a_seed_of_its_own(seed: int, first: list, second: list):
    assert derive_seed(seed, *first) == derive_seed(seed, *first)
    assert 0 <= derive_seed(seed, *first) < 2**63
    assert (derive_seed(seed, *first) == derive_seed(seed, *second)) == (first == second)


def test_a_stream_is_the_same_on_every_machine():
    assert derive_seed(42, "order", 3) == 5500105927861195030
    assert numpy_generator(42, "split").integers(1000, size=3).tolist() == [337, 206, 0]
