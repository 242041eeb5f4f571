import json
from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.core.errors import DarkroomError
from darkroom.teachers import descriptions
from tests.teachers.keeping import edit, put
from tests.trainings import manifest, split

MANIFEST = replace(manifest(split(8, 1)), test_sha256="1" * 64, test_examples_sha256="2" * 64)


def test_teachers_are_known_by_their_folders():
    put("big", MANIFEST), put("none", MANIFEST)
    (descriptions.FOLDER / "empty").mkdir()
    put("killed", MANIFEST).folder.rename(descriptions.FOLDER / ".tmp-killed")
    assert descriptions.known() == ["big"]
    descriptions.require_known("none"), descriptions.require_known("big")
    with pytest.raises(DarkroomError, match=r"train\.distill\.teacher = 'bog'.*did you mean big\?"):
        descriptions.require_known("bog")
    for name in ("../big", "empty", "x/y"):
        with pytest.raises(DarkroomError, match=r"train\.distill\.teacher = .*which has big"):
            descriptions.load(name)


def test_a_teacher_that_dvc_tracks_can_be_fetched():
    descriptions.FOLDER.mkdir(parents=True)
    (descriptions.FOLDER / "big.dvc").write_text("")
    with pytest.raises(DarkroomError, match=r"'big'.*none yet; run `dvc checkout data/teachers/big\.dvc`"):
        descriptions.load("big")


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"networks": []}, "networks"),
        ({"accuracy": 1.5}, "accuracy"),
        ({"test_examples_sha256": "x"}, "test_examples_sha256"),
        ({"extra": 1}, "extra"),
        ({"classes": "left"}, "classes"),
    ],
)
def test_an_invalid_description_names_its_key(changes: dict, fact: str):
    put("big", MANIFEST)
    edit("big", **changes)
    with pytest.raises(DarkroomError, match=rf"data/teachers/big/teacher\.json: {fact}"):
        descriptions.load("big")


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00", "[]" * 3, '{"networks": 1}'])
def test_a_damaged_description_is_one_line(text: str):
    put("big", MANIFEST)
    Path("data/teachers/big/teacher.json").write_text(text)
    with pytest.raises(DarkroomError, match=r"data/teachers/big/teacher\.json") as caught:
        descriptions.load("big")
    assert "\n" not in str(caught.value)


def test_a_path_as_file_is_refused():
    networks = put("big", MANIFEST).model_dump(mode="json")["networks"]
    for file in ("../1.safetensors", "/etc/passwd", ".hidden", ""):
        edit("big", networks=[{**networks[0], "file": file}])
        with pytest.raises(DarkroomError, match=r"networks\.0\.file"):
            descriptions.load("big")


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"classes": ("right", "left")}, ["number 0 is 'left' instead of 'right'"]),
        ({"classes": ("left",)}, ["2 instead of 1"]),
        ({"test_examples_sha256": "3" * 64}, ["other ids or labels"]),
        ({"test_sha256": "3" * 64}, ["prepared differently"]),
        ({"test_sha256": "3" * 64, "test_examples_sha256": "3" * 64, "shape": (12, 12, 1)}, ["other ids or labels"]),
    ],
)
def test_a_teacher_of_other_classes_or_another_test_split_is_refused(changes: dict, facts: list[str]):
    with pytest.raises(DarkroomError, match="'big'") as caught:
        put("big", MANIFEST).require_same_task(replace(MANIFEST, **changes))
    assert all(fact in str(caught.value) for fact in facts) and "\n" not in str(caught.value)


def test_another_training_split_or_image_size_is_accepted():
    teacher = put("big", MANIFEST)
    teacher.require_same_task(replace(MANIFEST, sha256="4" * 64, mean=(0.1,), counts={}))
    teacher.require_same_task(replace(MANIFEST, shape=(12, 12, 1), test_sha256="3" * 64))


def test_a_teacher_is_described_by_its_networks():
    one, three = put("one", MANIFEST), put("three", MANIFEST, networks=3)
    assert (str(one), str(three)) == ("cnn", "3 networks (cnn)")
    assert three.parameters == 3 * one.parameters
    assert json.loads(json.dumps(three.model_dump(mode="json")))["networks"][2]["file"] == "2.safetensors"
