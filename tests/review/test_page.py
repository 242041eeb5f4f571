import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from darkroom.review import compare, page, result, revision
from darkroom.review.compare import Review
from tests import reviewed
from tests.reviewed import STRONG, WEAK


def review(old: str, new: str) -> Review:
    return compare.compare(*(result.read(revision.find(name)) for name in (old, new)))


def test_the_verdict_comes_first_with_its_evidence(project: Path):
    text = page.markdown(review("weak", "strong"))
    title, evidence = text.split("\n\n")[:2]
    assert title == f"## {page.TITLES['better']}"
    assert all(fact in evidence for fact in ("75.00 %", "**90.00 %**", "+15.00", "< 0.0001", "40 are fixed", "10 are"))
    assert "| `train.lr` | 0.1 | 0.2 |" in text
    assert "`darkroom/train/net.py`" in text
    assert "| test/004 | coat | shirt | coat | 75.00 % |" in text
    assert "Caution" not in text and "\n\n\n" not in text


@pytest.mark.parametrize(("old", "new", "verdict"), [("strong", "weak", "worse"), ("weak", "weak", "within noise")])
def test_each_verdict_has_its_title(project: Path, old: str, new: str, verdict: str):
    assert page.markdown(review(old, new)).startswith(f"## {page.TITLES[verdict]}\n")


def test_seeds_are_shown_if_they_are_of_the_recipe(project: Path):
    for tag, correct, mean in (("weak", WEAK, 0.75), ("strong", STRONG, 0.76)):
        reviewed.write(project, correct, lr=mean)
        reviewed.write_seeds(project, mean)
        reviewed.commit(project, f"{tag}-seeds")
    text = page.markdown(review("weak-seeds", "strong-seeds"))
    assert "75.00 % ± 2.00 (n = 2) → 76.00 % ± 2.00 (n = 2)" in text
    assert "75.00 % ± 2.00 (n = 2)" in page.markdown(review("weak", "weak-seeds"))
    (project / "metrics/seeds.json").write_text('{"mean": 0.9, "std": 0.01, "n": 2}')
    reviewed.commit(project, "stale")
    text = page.markdown(review("weak", "stale"))
    assert "**Caution:** `metrics/seeds.json` of stale" in text and "90.00 % ±" not in text


def test_findings_are_shown_once_for_all_stages(project: Path):
    (project / "darkroom/train/net.py").write_text("# other")
    reviewed.edit(project / "metrics/evaluate.json", "0.01", "0.001")
    reviewed.commit(project, "edited")
    text = page.markdown(review("strong", "edited"))
    caution = next(line for line in text.splitlines() if line.startswith("**Caution:** `dvc.lock` of edited"))
    assert "darkroom/train" in caution and "metrics/evaluate.json" in caution


def test_attestations_are_shown_on_both_sides(project: Path):
    reviewed.attest(project)
    reviewed.commit(project, "attested")
    reviewed.write(project, WEAK)
    reviewed.commit(project, "later")
    line = next(line for line in page.markdown(review("attested", "later")).splitlines() if "Reproduction:" in line)
    assert line.startswith("**Caution:**") and "all 3 outputs" in line and "&lt;b&gt;CPU&lt;/b&gt;" in line
    assert "Caution" not in page.markdown(review("attested", "attested"))


def test_corruptions_have_a_table_if_both_measured_them(project: Path):
    assert "### Corruptions" not in page.markdown(review("weak", "strong"))
    (project / "metrics/robustness").mkdir()
    for tag, accuracy in (("old", 0.5), ("new", 0.75)):
        table = pd.DataFrame({"corruption": ["fog"], "severity": [1], "accuracy": [accuracy]})
        table.to_csv(project / "metrics/robustness/corruptions.csv", index=False)
        reviewed.commit(project, tag)
    assert "| fog | 50.00 % | 75.00 % | +25.00 |" in page.markdown(review("old", "new"))


def test_long_lists_are_cut(project: Path):
    labels = [f"class {index % 40:02}" for index in range(200)]
    for tag, shift in (("old", 1), ("new", 0)):
        reviewed.write(project, [True] * 200, labels=labels)
        table = pd.read_csv(project / "metrics/predictions.csv")
        table["predicted"] = [labels[(index + shift) % 200] for index in range(200)]
        table.to_csv(project / "metrics/predictions.csv", index=False)
        reviewed.edit(project / "metrics/evaluate.json", '"accuracy": 1.0', f'"accuracy": {1.0 - shift}')
        values = "\n".join(f"  p{index}: {shift}" for index in range(40))
        (project / "params.yaml").write_text(f"seed: 1\ntrain:\n  lr: 0.1\n{values}\n")
        reviewed.lock(project)
        reviewed.commit(project, tag)
    text = page.markdown(review("old", "new"))
    assert text.count("| test/") == page.SHOWN
    assert len(re.findall(r"^\| class \d\d", text, re.MULTILINE)) == page.MAX_CLASSES
    assert text.count("| `train.p") == 2 * page.SHOWN and "20 more" in text


def test_the_page_is_complete_and_names_are_not_markup(project: Path):
    for tag, correct in (("old", WEAK), ("new", STRONG)):
        reviewed.write(project, correct)
        path = project / "metrics/predictions.csv"
        path.write_text(path.read_text().replace("coat", '"<i>a|b\n**c**"'))
        reviewed.lock(project)
        reviewed.commit(project, tag)
    found = review("old", "new")
    assert "| &lt;i&gt;a\\|b \\*\\*c\\*\\* | 100 |" in page.markdown(found)
    html = page.html(found)
    assert "<td>&lt;i&gt;a|b **c**</td>" in html
    assert html.count("<table>") == html.count("</table>") >= 5

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list) -> None:
            assert tag not in ("script", "img", "link", "i") and not dict(attributes).keys() & {"src", "href"}

    Links().feed(html)
