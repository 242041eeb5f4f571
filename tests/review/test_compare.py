import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from darkroom.review import compare
from tests import reviewed
from tests.repository import ROOT

WEAK, STRONG = [place % 4 > 0 for place in range(200)], [place % 10 > 0 for place in range(200)]  # 75 % and 90 % right


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the tags weak and strong; the workspace is as strong."""
    monkeypatch.chdir(tmp_path)
    reviewed.write(tmp_path, WEAK)
    reviewed.commit(tmp_path, "weak")
    reviewed.write(tmp_path, STRONG, lr=0.2)
    reviewed.commit(tmp_path, "strong")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["review", *arguments])
    with pytest.raises(SystemExit) as ended:
        compare.main()
    return ended.value.code, capsys.readouterr().out


def test_better_is_said_with_its_proof(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    code, text = run(monkeypatch, capsys, "weak", "--fail-on", "regression", "--fail-on", "stale")
    assert code == 0
    assert text.startswith(
        "## Better on this test set\n\nAccuracy 75.00 % → **90.00 %**: +15.00 points, 95 % interval +8."
    )
    assert "McNemar's exact p < 0.0001 (more than luck: below 0.025)." in text
    assert "40 are fixed (wrong before, right now) and 10 broken" in text
    assert "one training against one" in text
    assert "| `train.lr` | 0.1 | 0.2 |" in text
    assert "Files of code and data: `darkroom/net.py`." in text
    assert "| test/004 | coat | shirt | coat | 75.00 % |" in text
    assert "Caution" not in text


def test_worse_fails_the_gate(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    code, text = run(monkeypatch, capsys, "strong", "weak", "--fail-on", "regression")
    assert (code, text.splitlines()[0]) == (1, "## Worse on this test set")
    assert run(monkeypatch, capsys, "strong", "weak")[0] == 0


def test_the_luck_of_the_test_set_is_noise(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    reviewed.write(project, [*STRONG[:-3], False, False, False])
    code, text = run(monkeypatch, capsys, "strong", "--fail-on", "regression")
    assert (code, text.splitlines()[0]) == (0, "## Within the noise of the test set")
    assert "0 are fixed (wrong before, right now) and 3 broken" in text


def test_what_else_a_result_depends_on_is_said(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """A table that is compared with, and a module that nobody has added to git yet; a note changes nothing."""
    for path in ("data/baselines/toy.csv", "stages/new.py", "notes.txt"):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text("new")
    reviewed.commit(project, "added")
    assert (
        "Files of code and data: `data/baselines/toy.csv`, `stages/new.py`."
        in run(monkeypatch, capsys, "strong", "added")[1]
    )
    (project / "data/baselines/toy.csv").write_text("other")
    (project / "stages/newer.py").touch()
    assert (
        "Files of code and data: `data/baselines/toy.csv`, `stages/newer.py`." in run(monkeypatch, capsys, "added")[1]
    )


def test_programs_get_json(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    code, text = run(monkeypatch, capsys, "weak", "strong", "--json")
    found = json.loads(text)
    assert (code, found["verdict"], found["method"], found["old"]["revision"]) == (0, "better", "unknown", "weak")
    assert found["differences"]["accuracy"]["value"] == pytest.approx(0.15)
    assert found["differences"]["calibration.after.loss"]["value"] < 0
    assert found["params"] == {"train.lr": {"old": 0.1, "new": 0.2}}
    assert len(found["fixed"]) == 40


def test_seeds_decide_over_the_method(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    for tag, mean in (("weak", 0.75), ("strong", 0.76)):
        reviewed.write(project, WEAK if tag == "weak" else STRONG, lr=mean)
        reviewed.write_seeds(project, mean)
        reviewed.commit(project, f"{tag}-seeds")
    _, text = run(monkeypatch, capsys, "weak-seeds", "strong-seeds")
    assert "Over seeds: 75.00 % ± 2.00 (n = 2) → 76.00 % ± 2.00 (n = 2), +1.00 points" in text
    assert "within the noise of the seed" in text
    _, text = run(monkeypatch, capsys, "weak", "weak-seeds")
    assert "What is known: 75.00 % ± 2.00 (n = 2) over seeds for weak-seeds." in text


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda project: reviewed.write(project, STRONG, lr=0.3),
            "are left out: train@1 ran with another value of train.lr. `dvc repro",
        ),
        (
            lambda project: (project / "metrics/seeds.json").write_text('{"mean": 0.99, "std": 0.01, "n": 2}'),
            "summary left another metrics/seeds.json",
        ),
        (
            lambda project: (project / "seeds/seeds.yaml").write_text("seeds: [1, 2, 3]"),
            "summary ran with another value of seeds, train@3 has never run",
        ),
        (
            lambda project: (project / "seeds/dvc.lock").unlink(),
            "seeds/dvc.lock is missing in the workspace: run `dvc repro seeds/dvc.yaml`",
        ),
    ],
)
def test_seeds_of_another_method_are_said_and_not_used(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, spoil, said: str
):
    reviewed.write_seeds(project, 0.75)
    reviewed.commit(project, "seeds")
    spoil(project)
    code, text = run(monkeypatch, capsys, "seeds", "--fail-on", "stale")
    assert code == 0  # what was measured once is measured
    assert "**Caution:** `seeds/dvc.lock` of the workspace is not of its files" in text and said in text.replace(
        "\\`", "`"
    )
    assert "Over seeds" not in text and "What is known: 75.00 % ± 2.00 (n = 2)" in text
    found = json.loads(run(monkeypatch, capsys, "seeds", "--json")[1])
    assert found["method"] == "unknown" and list(found["stale_seeds"]) == ["the workspace"]


def test_an_edited_metric_is_said(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    path = project / "metrics/evaluate.json"
    path.write_text(path.read_text().replace('"ece": 0.01', '"ece": 0.001'))
    code, text = run(monkeypatch, capsys, "strong")
    assert code == 1
    assert "**Caution:** `dvc.lock` of the workspace is not of its files" in text
    assert "evaluate left another metrics/evaluate.json" in text


def test_corruptions_are_compared_one_by_one(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    (project / "metrics/robustness.json").write_text('{"accuracy": {"fog": 0.5, "snow": 0.25}}')
    reviewed.commit(project, "corrupted")
    (project / "metrics/robustness.json").write_text('{"accuracy": {"fog": 0.75}}')
    text = run(monkeypatch, capsys, "corrupted")[1]
    assert "| fog | 50.00 % | 75.00 % | +25.00 |\n| snow | 25.00 % |  |  |" in text
    assert "### Corruptions" not in run(monkeypatch, capsys, "weak", "strong")[1]


def test_the_gate_is_for_the_new_side(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    edited("metrics/evaluate.json", '"ece": 0.01', '"ece": 0.001')(project)
    reviewed.commit(project, "edited")
    code, text = run(monkeypatch, capsys, "edited", "strong", "--fail-on", "stale")
    assert code == 0 and "**Caution:** `dvc.lock` of edited is not of its files" in text
    assert run(monkeypatch, capsys, "strong", "edited", "--fail-on", "stale")[0] == 1


def test_what_the_attestation_is_worth_is_said(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    assert "Reproduction: weak is not attested; the workspace is not attested." in run(monkeypatch, capsys, "weak")[1]
    reviewed.attest(project)
    text = run(monkeypatch, capsys, "weak")[1]
    assert (
        "weak is not attested; the workspace is reproduced to the bit, all 2 outputs, on 2 cores of a &lt;b&gt;CPU&lt;/b&gt; (2 CPU threads, fp32)"
        in text
    )
    reviewed.commit(project, "attested")
    reviewed.write(project, WEAK)
    code, text = run(monkeypatch, capsys, "attested", "--fail-on", "stale")
    assert code == 0  # that is for `python -m darkroom.verify --check`
    assert "**Caution:** Reproduction: attested is reproduced to the bit" in text
    assert "the workspace is not attested: the attestation is of another dvc.lock, that of commit 000000000000." in text
    (project / "metrics/attestation.json").write_text("{}")
    found = json.loads(run(monkeypatch, capsys, "attested", "--json")[1])["attested"]
    assert (found["old"]["state"], found["new"]["state"]) == ("reproduced", "invalid")


def test_who_reads_the_first_lines_only_is_no_fault(project: Path):
    """As in `python -m darkroom.review weak | head -1`, where the pipe is closed before all is written."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        command = [sys.executable, "-m", "darkroom.review", "strong", "weak", "--fail-on", "regression"]
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stderr) == (1, b"")


def edited(path: str, old: str, new: str):
    def edit(project: Path) -> None:
        text = (project / path).read_text()
        assert old in text
        (project / path).write_text(text.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda project: reviewed.write(project, STRONG[:-1]),
            "strong and the workspace were tested on different pictures: 1 are in one test set only",
        ),
        (
            lambda project: reviewed.write(project, STRONG, labels=["coat"] * 200),
            "different labels: 100 pictures are labelled otherwise, for example test/001",
        ),
        (
            lambda project: (project / "metrics/evaluate.json").unlink(),
            "the workspace has no metrics/evaluate.json: run `dvc repro`",
        ),
        (
            lambda project: (project / "metrics/predictions.csv").unlink(),
            "the workspace has no metrics/predictions.csv: run `dvc repro`",
        ),
        (
            edited("metrics/evaluate.json", '"accuracy": 0.9', '"accuracy": 0.95'),
            "an accuracy of 0.95, its metrics/predictions.csv of 200 and 0.9",
        ),
        (
            edited("metrics/evaluate.json", '"ece": 0.01', '"ece": NaN'),
            "says calibration.after.ece = nan, which is no number",
        ),
        (
            edited("metrics/evaluate.json", '"ece": 0.01', '"ece": "low"'),
            "says calibration.after.ece = low, which is no number",
        ),
        (
            lambda project: (project / "metrics/preprocess.json").write_text('{"test": 12}'),
            "metrics/preprocess.json of the workspace tells of 12 test pictures, its metrics/predictions.csv of 200",
        ),
        (edited("metrics/evaluate.json", "{", "["), "metrics/evaluate.json of the workspace is no JSON of numbers"),
        (edited("metrics/predictions.csv", "test/001", "test/000"), "names test/000 twice"),
        (
            edited("metrics/predictions.csv", "test/199,shirt,shirt,0.75,0.75", "test/199,shirt"),
            "has rows with something missing",
        ),
        (
            edited("metrics/predictions.csv", "test/199,shirt,shirt,0.75,0.75", "test/199,shirt,shirt,sure,1"),
            "metrics/predictions.csv of the workspace cannot",
        ),
        (edited("metrics/predictions.csv", "predicted", "said"), "has no column predicted"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, spoil, sentence: str
):
    spoil(project)
    code, text = run(monkeypatch, capsys, "strong")
    assert code == 2
    assert text.startswith("## Not comparable\n\n")
    assert sentence in text
    code, text = run(monkeypatch, capsys, "strong", "--json")
    assert (code, json.loads(text)["verdict"]) == (2, "not comparable")


def test_an_unknown_revision_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    code, text = run(monkeypatch, capsys, "nobody")
    assert code == 2 and "git knows no revision 'nobody'" in text


def test_the_page_is_whole_and_names_are_no_markup(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    for tag, right in (("old", WEAK), ("new", STRONG)):
        reviewed.write(project, right)
        for path in ("metrics/predictions.csv",):
            (project / path).write_text((project / path).read_text().replace("coat", '"<i>a|b\n**c**"'))
        reviewed.lock(project)
        reviewed.commit(project, tag)
    code, text = run(monkeypatch, capsys, "old", "new", "--html", "compare.html")
    assert code == 0
    assert "| &lt;i&gt;a\\|b \\*\\*c\\*\\* | 100 |" in text
    page = Path("compare.html").read_text()
    assert "<td>&lt;i&gt;a|b **c**</td>" in page
    assert page.count("<table>") == page.count("</table>") >= 5

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list) -> None:
            assert tag not in ("script", "img", "link", "i") and not dict(attributes).keys() & {"src", "href"}

    Links().feed(page)
