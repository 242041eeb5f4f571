"""Tests of admission control."""

import pytest

from darkroom.serve.admission import Admission
from darkroom.serve.problems import Problem


def test_capacity_is_held_and_released():
    admission = Admission(max_images=3, max_bytes=10)
    with admission.take(2, 5):
        assert (admission.images, admission.bytes, admission.full) == (2, 5, False)
        with admission.take(1, 5):
            assert (admission.images, admission.bytes, admission.full) == (3, 10, True)
    assert (admission.images, admission.bytes, admission.full) == (0, 0, False)


def test_a_refused_request_may_fit_later():
    admission = Admission(max_images=3, max_bytes=10)
    with admission.take(2, 5):
        for images, size in ((2, 0), (1, 6)):
            with pytest.raises(Problem) as raised, admission.take(images, size):
                pytest.fail("it was admitted")
            assert (raised.value.status, raised.value.headers) == (429, {"retry-after": "1"})
        assert (admission.images, admission.bytes) == (2, 5)
    with admission.take(3, 10):
        assert admission.full


def test_a_request_that_can_never_fit():
    with pytest.raises(Problem) as raised, Admission(max_images=3, max_bytes=10).take(4, 0):
        pytest.fail("it was admitted")
    assert raised.value.status == 413


def test_bytes_are_held_as_they_arrive():
    admission = Admission(max_images=1, max_bytes=10)
    with pytest.raises(Problem) as raised, admission.holding() as hold:
        assert [hold(4), hold(6), admission.bytes] == [4, 10, 10]
        hold(1)
    assert raised.value.status == 429
    assert admission.bytes == 0


def test_capacity_is_released_after_a_failure():
    admission = Admission(max_images=1, max_bytes=1)
    with pytest.raises(KeyError), admission.take(1, 1):
        raise KeyError
    assert (admission.images, admission.bytes) == (0, 0)
