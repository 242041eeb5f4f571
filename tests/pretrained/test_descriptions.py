from pathlib import Path

import pytest
import yaml

from darkroom.core.errors import DarkroomError
from darkroom.pretrained import descriptions
from tests.code import ROOT
from tests.pretrained.weights import describe, put


def test_a_description_is_read():
    put("tiny")
    found = descriptions.load("tiny")
    assert (found.name, found.family, found.names, found.interpolation) == ("tiny", "timm", "same", "bicubic")
    assert (found.mean, found.image_size) == ((0.5, 0.5, 0.5), 32)


def test_only_folders_with_a_description_are_known():
    put("tiny"), put("none"), Path("data/pretrained/empty").mkdir()
    assert descriptions.known() == ["tiny"]
    descriptions.require_known("none")
    for name in ("tinny", "empty", "", "../tiny"):
        with pytest.raises(DarkroomError, match=rf"model\.pretrained = '{name}'.*tiny"):
            descriptions.require_known(name)


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"sha256": "123"}, "sha256"),
        ({"file": "../model.pth"}, "file"),
        ({"mean": [2]}, "mean"),
        ({"mean": [], "std": []}, "mean"),
        ({"std": [0.5, 0.5, 0.0]}, "std"),
        ({"std": [0.5]}, "mean has 3 .* std 1"),
        ({"architecture": ""}, "architecture"),
        ({"family": "sprint", "names": "by_order"}, "by_order"),
        ({"extra": 1}, "extra"),
        ({"family": "resnext"}, "family.*timm"),
        ({"crop_fraction": 0.2}, "crop_fraction"),
        ({"sources": [{"repository": "a/b", "revision": "main", "file": "x"}]}, "revision"),
        ({"sources": [{"package": "-r x", "version": "1.0", "member": "x"}]}, "package"),
        ({"sources": [{"package": "x", "version": "1.0 --pre", "member": "x"}]}, "version"),
    ],
)
def test_an_invalid_description_names_file_and_key(changes: dict, fact: str):
    put("tiny", **changes)
    with pytest.raises(DarkroomError, match=rf"data/pretrained/tiny/weights\.yaml: .*{fact}"):
        descriptions.load("tiny")


@pytest.mark.parametrize("text", ["", "- 1", "{", "a: 1\na: 2"])
def test_a_file_that_is_no_mapping_is_refused(text: str):
    (put("tiny") / "weights.yaml").write_text(text)
    with pytest.raises(DarkroomError, match=r"tiny/weights\.yaml"):
        descriptions.load("tiny")


def test_the_built_in_weights_are_valid(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    found = [descriptions.load(name) for name in descriptions.known()]
    assert found and all(one.licence != "unknown" and one.sources for one in found)


def test_keys_may_have_defaults():
    needed = {"title", "family", "architecture", "file", "bytes", "sha256", "image_size", "mean", "std"}
    values = {key: value for key, value in describe(b"x").items() if key in needed}
    Path("data/pretrained/least").mkdir(parents=True)
    Path("data/pretrained/least/weights.yaml").write_text(yaml.safe_dump(values))
    assert descriptions.load("least").licence == "unknown"


def test_the_command_sets_all_that_the_weights_need():
    put("tiny", crop_fraction=0.875)
    assert descriptions.load("tiny").command() == (
        "dvc exp run -S model.name=timm -S model.pretrained=tiny -S model.timm.architecture=auto "
        "-S preprocess.color=rgb -S preprocess.image_size=32 -S preprocess.resize=crop "
        "-S preprocess.interpolation=bicubic -S preprocess.crop_fraction=0.875"
    )
    put("own", family="sprint", architecture="", mean=[0.5], std=[0.5])
    command = descriptions.load("own").command()
    assert "color=grey" in command and "architecture" not in command and "crop_fraction" not in command
