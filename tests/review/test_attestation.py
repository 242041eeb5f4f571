import json
from pathlib import Path
from typing import Any

import pytest

from darkroom.review import attestation, revision
from darkroom.review.attestation import Standing, State
from darkroom.review.lock import Finding, Kind
from darkroom.review.revision import WORKSPACE
from tests import reviewed

MD5 = "0" * 32


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


def test_an_identical_reproduction():
    found = standing()
    assert (found.state, found.attested.differing) == ("reproduced", [])
    assert all(
        fact in str(found) for fact in ("all 3 outputs", "2 CPU threads, fp32", revision.find("run").commit[:12])
    )


def test_a_different_reproduction_says_how_different(project: Path):
    first, second, weights = reviewed.attest(project)["outputs"]
    numbers = {"loss": {"committed": 0.5, "found": 0.6}, "accuracy": {"committed": 0.5, "found": None}}
    first |= {"found": MD5, "same": False, "numbers": numbers}
    second |= {"found": None, "same": False, "predictions": 1}
    reviewed.attest(project, same=False, outputs=[first, second, weights])
    found = standing()
    assert found.state == "different"
    assert found.as_json()["differing"] == ["metrics/evaluate.json", "metrics/predictions.csv"]
    assert all(fact in str(found) for fact in ("2 of 3 outputs", "accuracy 0.5 → None", "1 prediction"))


def test_it_holds_for_each_commit_with_that_lock_and_for_no_other(project: Path):
    reviewed.commit(project, "attested")
    assert standing("attested").state == "reproduced"
    reviewed.write(project, [True, True])
    reviewed.commit(project, "another")
    found = standing("another")
    assert found.state == "other_lock" and found.attested.commit == revision.find("run").commit


def test_no_attestation_is_none():
    assert attestation.standing(None, WORKSPACE, ()).state == "none"


def test_it_does_not_hold_if_the_lock_is_stale():
    finding = Finding(Kind.OUTPUT_CHANGED, "evaluate", "metrics/evaluate.json")
    found = attestation.standing(WORKSPACE.read(attestation.FILE), revision.find("run"), [finding])
    assert (found.state, found.reason) == ("stale_lock", str(finding))


def test_each_state_has_a_sentence(project: Path):
    attested = standing().attested
    assert len({str(Standing(state, attested, "why")) for state in State if state != State.DIFFERENT}) == 5


def edited(**changes: Any):
    return lambda project: reviewed.attest(project, **changes)


def output(**changes: Any):
    def edit(project: Path) -> None:
        first, second, weights = reviewed.attest(project)["outputs"]
        reviewed.attest(project, outputs=[first | changes, second, weights])

    return edit


@pytest.mark.parametrize(
    ("edit", "fact"),
    [
        (lambda project: (project / attestation.FILE).write_text("{"), "JSON"),
        (lambda project: (project / attestation.FILE).write_bytes(b" " * 2**21), "1,048,576"),
        (lambda project: (project / attestation.FILE).write_text(json.dumps({"commit": "0" * 40})), "lock_sha256"),
        (edited(surplus=1), "surplus"),
        (edited(commit="--help"), "commit"),
        (edited(seconds="long"), "seconds"),
        (edited(same=False), "`same`"),
        (edited(params={"seed": 2}), "parameters"),
        (output(found=MD5), "`same` of metrics/evaluate.json"),
        (output(same=False), "`same` of metrics/evaluate.json"),
        (output(predictions=3), "metrics/evaluate.json"),
        (output(locked=MD5, found=MD5), "outputs"),
        (output(path="metrics/predictions.csv"), "outputs"),
    ],
)
def test_an_edited_attestation_is_invalid(project: Path, edit, fact: str):
    edit(project)
    found = standing()
    assert found.state == "invalid" and fact in found.reason


def test_an_attestation_whose_commit_has_another_lock_is_invalid(project: Path):
    reviewed.write(project, [True, True])
    reviewed.commit(project, "another")
    reviewed.attest(project, commit=revision.find("run").commit)
    found = standing("another")
    assert found.state == "invalid" and revision.find("run").commit[:12] in found.reason
