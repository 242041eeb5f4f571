import pytest

from darkroom.core.spelling import closest, confusion, counted, did_you_mean, isolated

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


def test_names_from_right_to_left_do_not_change_the_order_of_two_names():
    assert confusion("lost", "stolen") == "lost → stolen" and isolated("丢失 é 1") == "丢失 é 1"
    assert confusion("אבד", "lost") == "\u2068אבד\u2069 → lost"
    assert isolated("card بطاقة") == "\u2068card بطاقة\u2069"
