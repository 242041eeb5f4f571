import pytest

from darkroom.core.spelling import closest, counted, did_you_mean

KNOWN = ("resnet", "wide_resnet", "vit")


@pytest.mark.parametrize(("name", "meant"), [("resnot", "resnet"), ("wideresnet", "wide_resnet"), ("zzz", None)])
def test_the_most_similar_name_is_suggested(name: str, meant: str | None):
    assert closest(name, KNOWN) == meant
    assert closest(name, iter(KNOWN)) == meant
    assert did_you_mean(name, iter(KNOWN), listed=False) == (f"did you mean {meant}?" if meant else "")


def test_without_a_similar_name_the_known_ones_are_listed():
    assert did_you_mean("zzz", iter(KNOWN)) == "known: resnet, wide_resnet, vit"
    assert did_you_mean("zzz", ()) == "known: none"
    assert did_you_mean("resnot", KNOWN, cutoff=1.0, listed=False) == ""


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (10_000, "test image", "10,000 test images"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
    ],
)
def test_counts_have_the_right_number(count: int, noun: str, text: str):
    assert counted(count, noun) == text
