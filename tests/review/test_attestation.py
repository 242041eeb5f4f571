import json
from pathlib import Path
from typing import Any

import pytest

from darkroom.review import attestation, revision
from darkroom.review.attestation import Standing
from darkroom.review.revision import WORKSPACE
from tests import reviewed

MD5, OTHER = "0" * 32, "1" * 32


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the tag run, and an attestation of it in the working tree."""
    monkeypatch.chdir(tmp_path)
    reviewed.write(tmp_path, [True, False])
    reviewed.commit(tmp_path, "run")
    reviewed.attest(tmp_path, commit=revision.find("run").commit)
    return tmp_path


def standing(name: str = "run") -> Standing:
    return attestation.standing(WORKSPACE.read(attestation.FILE), revision.find(name), ())


def test_what_is_the_same_is_said_with_where():
    found = standing()
    assert found.state == "reproduced"
    commit = revision.find("run").commit[:12]
    assert (
        found.sentence
        == f"is reproduced to the bit, all 2 outputs, on 2 cores of a <b>CPU</b> (2 CPU threads, fp32), at {commit}"
    )


def test_what_differs_is_said_with_how_much(project: Path):
    first, second = reviewed.attest(project)["outputs"]
    first |= {
        "found": MD5,
        "same": False,
        "numbers": {"loss": {"committed": 0.5, "found": 0.6}, "accuracy": {"committed": 0.5, "found": None}},
    }
    second |= {"found": None, "same": False, "answers": 1}
    reviewed.attest(project, same=False, outputs=[first, second])
    found = standing()
    assert found.state == "different"
    assert (
        "2 of 2 outputs differ, the first metrics/evaluate.json; accuracy 0.5 → None, other answers: 1"
        in found.sentence
    )


def test_it_holds_for_each_commit_with_that_lock_and_for_no_other(project: Path):
    reviewed.commit(project, "attested")
    assert standing("attested").state == "reproduced"
    reviewed.write(project, [True, True])
    reviewed.commit(project, "another")
    found = standing("another")
    assert found.state == "outdated"
    assert (
        f"the attestation is of another dvc.lock, that of commit {revision.find('run').commit[:12]}" in found.sentence
    )


def test_no_attestation_is_none():
    assert attestation.standing(None, WORKSPACE, ()).state == "none"


def test_it_says_nothing_of_files_that_are_not_those_of_the_lock():
    found = attestation.standing(
        WORKSPACE.read(attestation.FILE), revision.find("run"), ["evaluate left another metrics/evaluate.json"]
    )
    assert (
        found.state == "outdated"
        and "which is not of its files (evaluate left another metrics/evaluate.json)" in found.sentence
    )


def edited(**changes: Any):
    return lambda project: reviewed.attest(project, **changes)


def output(**changes: Any):
    def edit(project: Path) -> None:
        first, second = reviewed.attest(project)["outputs"]
        reviewed.attest(project, outputs=[first | changes, second])

    return edit


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda project: (project / attestation.FILE).write_text("{"), "Invalid JSON"),
        (lambda project: (project / attestation.FILE).write_bytes(b" " * 2**21), "it is longer than"),
        (
            lambda project: (project / attestation.FILE).write_text(json.dumps({"commit": "0" * 40})),
            "lock_sha256: Field required",
        ),
        (edited(surplus=1), "surplus: Extra inputs are not permitted"),
        (edited(commit="--help"), "commit: String should match"),
        (edited(seconds="long"), "seconds: Input should be a valid number"),
        (edited(same=False), "it says that outputs differ, but its outputs say otherwise"),
        (edited(params={"seed": 2}), "its parameters are not those of dvc.lock"),
        (output(found=MD5), "metrics/evaluate.json is said to be the same, but its digests say otherwise"),
        (output(same=False), "metrics/evaluate.json is said to be different, but its digests say otherwise"),
        (output(answers=3), "is said to be the same, but numbers of it to differ"),
        (output(locked=MD5, found=MD5), "its outputs are not those of dvc.lock"),
        (output(path="metrics/predictions.csv"), "its outputs are not those of dvc.lock"),
    ],
)
def test_what_was_edited_is_found_out(project: Path, edit, why: str):
    edit(project)
    found = standing()
    assert found.state == "invalid"
    assert "was edited or damaged" in found.sentence and why in found.sentence


def test_a_commit_with_another_lock_is_found_out(project: Path):
    reviewed.write(project, [True, True])
    reviewed.commit(project, "another")
    reviewed.attest(project, commit=revision.find("run").commit)
    found = standing("another")
    assert found.state == "invalid" and "has another dvc.lock" in found.sentence
