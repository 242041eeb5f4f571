"""How much is taken on."""

import pytest

from darkroom.serve.admission import Admission
from darkroom.serve.problems import Problem


def test_room_is_held_and_given_back():
    admission = Admission(max_pictures=3, max_bytes=10)
    with admission.take(2, 5):
        assert (admission.pictures, admission.bytes, admission.full) == (2, 5, False)
        with admission.take(1, 5):
            assert (admission.pictures, admission.bytes, admission.full) == (3, 10, True)
    assert (admission.pictures, admission.bytes, admission.full) == (0, 0, False)


def test_what_does_not_fit_now_may_fit_later():
    admission = Admission(max_pictures=3, max_bytes=10)
    with admission.take(2, 5):
        for pictures, size in ((2, 0), (1, 6)):
            with pytest.raises(Problem) as raised, admission.take(pictures, size):
                pytest.fail("it was taken")
            assert (raised.value.status, raised.value.headers) == (429, {"retry-after": "1"})
        assert (admission.pictures, admission.bytes) == (2, 5)
    with admission.take(3, 10):
        assert admission.full


def test_what_never_fits():
    with pytest.raises(Problem) as raised, Admission(max_pictures=3, max_bytes=10).take(4, 0):
        pytest.fail("it was taken")
    assert raised.value.status == 413


def test_bytes_that_come_one_after_another():
    admission = Admission(max_pictures=1, max_bytes=10)
    with pytest.raises(Problem) as raised, admission.holding() as hold:
        assert [hold(4), hold(6), admission.bytes] == [4, 10, 10]
        hold(1)
    assert raised.value.status == 429
    assert admission.bytes == 0


def test_room_is_given_back_after_a_failure():
    admission = Admission(max_pictures=1, max_bytes=1)
    with pytest.raises(KeyError), admission.take(1, 1):
        raise KeyError
    assert (admission.pictures, admission.bytes) == (0, 0)
