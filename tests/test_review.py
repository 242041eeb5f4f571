import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from darkroom import review
from tests import reviewed

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
        review.main()
    return ended.value.code, capsys.readouterr().out


def test_better_is_said_with_its_proof(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    code, text = run(monkeypatch, capsys, "weak", "--fail-on", "regression", "--fail-on", "stale")
    assert code == 0
    assert text.startswith("## Better on this test set\n\nAccuracy 75.00 % → **90.00 %**: +15.00 points, 95 % interval +8.")
    assert "McNemar's exact p < 0.0001" in text
    assert "40 are fixed and 10 broken" in text
    assert "one training against one" in text
    assert "| `train.lr` | 0.1 | 0.2 |" in text
    assert "Code: `darkroom/net.py`." in text
    assert "| test/004 | coat | shirt | coat | 75.00 % |" in text
    assert "Caution" not in text


def test_worse_fails_the_gate(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    code, text = run(monkeypatch, capsys, "strong", "weak", "--fail-on", "regression")
    assert (code, text.splitlines()[0]) == (1, "## Worse on this test set")
    assert run(monkeypatch, capsys, "strong", "weak")[0] == 0


def test_the_luck_of_the_test_set_is_noise(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    reviewed.write(project, [*STRONG[:-3], False, False, False])
    code, text = run(monkeypatch, capsys, "strong", "--fail-on", "regression")
    assert (code, text.splitlines()[0]) == (0, "## Within the noise of the test set")
    assert "0 are fixed and 3 broken" in text


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
        (project / "metrics/seeds.json").write_text(json.dumps({"mean": mean, "std": 0.02, "n": 3}))
        reviewed.commit(project, f"{tag}-seeds")
    _, text = run(monkeypatch, capsys, "weak-seeds", "strong-seeds")
    assert "Over seeds: 75.00 % ± 2.00 (n = 3) → 76.00 % ± 2.00 (n = 3), +1.00 points" in text
    assert "within the noise of the seed" in text
    _, text = run(monkeypatch, capsys, "weak", "weak-seeds")
    assert "What is known: 75.00 % ± 2.00 (n = 3)" in text


def test_an_edited_metric_is_said(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    path = project / "metrics/evaluate.json"
    path.write_text(path.read_text().replace('"ece": 0.01', '"ece": 0.001'))
    code, text = run(monkeypatch, capsys, "strong", "--fail-on", "stale")
    assert code == 1
    assert "**Caution:** `dvc.lock` of the workspace is not of its files" in text
    assert "evaluate left another metrics/evaluate.json" in text


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
        (lambda project: (project / "metrics/evaluate.json").unlink(), "the workspace has no metrics/evaluate.json: run `dvc repro`"),
        (lambda project: (project / "metrics/predictions.csv").unlink(), "the workspace has no metrics/predictions.csv: run `dvc repro`"),
        (edited("metrics/evaluate.json", '"accuracy": 0.9', '"accuracy": 0.95'), "an accuracy of 0.95, its metrics/predictions.csv of 200 and 0.9"),
        (edited("metrics/evaluate.json", '"ece": 0.01', '"ece": NaN'), "says calibration.after.ece = nan, which is no number"),
        (edited("metrics/evaluate.json", "{", "["), "metrics/evaluate.json of the workspace is no JSON of numbers"),
        (edited("metrics/predictions.csv", "test/001", "test/000"), "names test/000 twice"),
        (edited("metrics/predictions.csv", "test/199,shirt,shirt,0.75,0.75", "test/199,shirt"), "has rows with something missing"),
        (
            edited("metrics/predictions.csv", "test/199,shirt,shirt,0.75,0.75", "test/199,shirt,shirt,sure,1"),
            "metrics/predictions.csv of the workspace cannot",
        ),
        (edited("metrics/predictions.csv", "predicted", "said"), "has no column predicted"),
    ],
)
def test_what_cannot_be_compared_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, spoil, sentence: str):
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


def test_the_page_is_whole_and_names_are_no_markup(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    for tag, right in (("old", WEAK), ("new", STRONG)):
        reviewed.write(project, right)
        for path in ("metrics/predictions.csv",):
            (project / path).write_text((project / path).read_text().replace("coat", '"<i>a|b\n**c**"'))
        reviewed.lock(project)
        reviewed.commit(project, tag)
    code, text = run(monkeypatch, capsys, "old", "new", "--html", "review.html")
    assert code == 0
    assert "| &lt;i&gt;a\\|b \\*\\*c\\*\\* | 100 |" in text
    page = Path("review.html").read_text()
    assert "<td>&lt;i&gt;a|b **c**</td>" in page
    assert page.count("<table>") == page.count("</table>") >= 5

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list) -> None:
            assert tag not in ("script", "img", "link", "i") and not dict(attributes).keys() & {"src", "href"}

    Links().feed(page)
