import os

from darkroom.core import processor


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= processor.cores() <= (os.cpu_count() or 1)


def test_the_description_starts_with_the_number_of_cores():
    count, word, of, name = processor.describe().split(" ", 3)
    assert (int(count), of) == (processor.cores(), "of") and word == ("core" if count == "1" else "cores") and name
