import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd

from darkroom.review import compare, page, result, revision
from darkroom.review.compare import Review
from tests import reviewed
from tests.reviewed import STRONG, WEAK


def review(old: str, new: str) -> Review:
    return compare.compare(*(result.read(revision.find(name)) for name in (old, new)))


def test_the_verdicts_come_first_with_their_evidence(project: Path):
    text = page.markdown(review("weak", "strong"))
    title, recipe, model = text.split("\n\n")[:3]
    assert title == "## Recipe: better · model: better"
    assert all(fact in recipe for fact in ("75.00 % → 90.00 %", "+15.00", "a prior for 200 training examples"))
    assert all(fact in model for fact in ("75.00 % → **90.00 %**", "< 0.0001", "40 are fixed", "10 broken"))
    assert "| `train.lr` | 0.1 | 0.2 |" in text
    assert "`darkroom/train/net.py`" in text
    assert "| test/004 | coat | shirt | coat | 75.00 % |" in text
    assert "Caution" not in text and "\n\n\n" not in text


def test_the_title_has_the_words_of_the_json(project: Path):
    for old, new in (("strong", "weak"), ("weak", "strong")):
        found = review(old, new)
        verdicts = compare.as_json(found)
        assert page.title(found).startswith(
            f"Recipe: {verdicts['recipe']['verdict']} · model: {verdicts['model']['verdict']}"
        )
    reviewed.write(project, [*STRONG[:-3], False, False, False])
    reviewed.commit(project, "near")
    text = page.markdown(review("strong", "near"))
    assert text.startswith("## Recipe: within noise · model: within noise\n") and "would be found" in text


def test_what_became_worse_stands_in_the_title(project: Path):
    """No more than a few classes; all 12 of 40 examples each are now incorrect."""
    labels = [f"class {index % 12:02}" for index in range(480)]
    for tag, good in (("old", [True] * 480), ("new", [index % 12 < 7 for index in range(480)])):
        columns = {"day": ["a" if index < 240 else "b" for index in range(480)]}
        reviewed.write(project, [True] * 480, lr=len(tag) + good[0] + sum(good), labels=labels, columns=columns)

        def predict(table: pd.DataFrame, good: list[bool] = good) -> pd.DataFrame:
            return table.assign(predicted=table["label"].where(good, "class 00"))

        reviewed.change_predictions(project, predict)
        reviewed.commit(project, tag)
    title, *rest = page.markdown(review("old", "new")).split("\n\n")
    assert "worse classes: class 07 -100.00, class 08 -100.00, class 09 -100.00 and 2 more" in title
    assert "worse slices: day = a -41.67, day = b -41.67" in title
    assert "class 11 -100.00." in rest[2]
    assert "| day = a | 240 |" in "".join(rest)


def test_the_same_is_short(project: Path):
    (project / "README.md").write_text("more")
    reviewed.commit(project, "documented")
    text = page.markdown(review("strong", "documented"))
    assert text.startswith("## The same\n") and len(text.split("\n\n")) == 3
    assert "`README.md`" in text and "200 predictions" in text
    assert "<h2>The same</h2>" in page.html(review("strong", "documented"))
    (project / "darkroom/train/net.py").write_text("# a comment")
    reviewed.lock(project)
    reviewed.commit(project, "code")
    assert "darkroom/train/net.py" in page.markdown(review("strong", "code"))


def test_the_same_predictions_need_no_tables_of_classes_and_examples(project: Path):
    reviewed.write(project, STRONG, lr=0.2, loss_calibrated=0.4)
    reviewed.commit(project, "calibrated")
    text = page.markdown(review("strong", "calibrated"))
    assert text.startswith("## The same predictions")
    assert "0.4000" in text and "### Classes" not in text and "### Examples" not in text


def test_what_is_compared_is_said_if_it_is_not_the_whole_test_set(project: Path):
    reviewed.write(project, STRONG, lr=0.3)

    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.replace("coat", "jacket").iloc[2:]
        table.loc[3, ["label", "predicted"]] = "jacket"
        return table

    reviewed.change_predictions(project, change)
    reviewed.commit(project, "changed")
    text = page.markdown(review("strong", "changed"))
    assert "198 common test examples" in text and text.count("**Caution:**") == 3
    assert "coat → jacket" in text


def test_the_teacher_is_named(project: Path):
    assert "teacher" not in page.markdown(review("weak", "strong"))
    reviewed.edit(project / "params.yaml", "train:", "train:\n  distill: {teacher: big, weight: 0.9}")
    reviewed.edit(project / "metrics/train.json", "{", '{"teacher_accuracy": 0.95, ')
    reviewed.lock(project)
    reviewed.commit(project, "taught")
    text = page.markdown(review("strong", "taught"))
    assert "| `train.distill.teacher` |  | big |" in text and "taught learned from the teacher `big` too." in text
    (project / "darkroom/train/net.py").write_text("# other")
    reviewed.write_seeds(project, 0.9)
    reviewed.commit(project, "again")
    assert "taught learned from the teacher `big` too. again learned" in page.markdown(review("taught", "again"))
    reviewed.write(project, WEAK, lr=0.5)
    reviewed.edit(project / "metrics/train.json", "{", '{"teacher_accuracy": 0.95, ')
    reviewed.commit(project, "worse")
    assert "| accuracy of the teacher |  | 95.00 % |" in page.markdown(review("strong", "worse"))


def test_seeds_are_shown_if_they_are_of_the_recipe(project: Path):
    for tag, correct, mean in (("weak", WEAK, 0.75), ("strong", STRONG, 0.76)):
        reviewed.write(project, correct, lr=mean)
        reviewed.write_seeds(project, mean)
        reviewed.commit(project, f"{tag}-seeds")
    text = page.markdown(review("weak-seeds", "strong-seeds"))
    assert "75.00 % ± 2.00 (n = 2) → 76.00 % ± 2.00 (n = 2)" in text
    assert "75.00 % ± 2.00 (n = 2)" in page.markdown(review("strong", "weak-seeds"))
    (project / "metrics/seeds.json").write_text('{"mean": 0.9, "std": 0.01, "n": 2}')
    reviewed.commit(project, "stale")
    text = page.markdown(review("weak", "stale"))
    assert "the seeds of stale" in text and "90.00 % ±" not in text and "Caution" not in text


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
    reviewed.write(project, WEAK, lr=0.3)
    reviewed.commit(project, "later")
    text = page.markdown(review("attested", "later"))
    line = next(line for line in text.splitlines() if "the attestation of later" in line)
    assert "all 3 outputs" in line and "&lt;b&gt;CPU&lt;/b&gt;" in line and "Caution" not in text
    (project / "metrics/attestation.json").write_text("{}")
    reviewed.commit(project, "broken")
    assert "**Caution:** broken is not attested" in page.markdown(review("weak", "broken"))


def test_corruptions_have_a_table_if_both_measured_them(project: Path):
    assert "### Corruptions" not in page.markdown(review("weak", "strong"))
    (project / "metrics/robustness").mkdir()
    for tag, accuracy in (("old", 0.5), ("new", 0.75)):
        table = pd.DataFrame({"corruption": ["fog"], "severity": [1], "accuracy": [accuracy]})
        table.to_csv(project / "metrics/robustness/corruptions.csv", index=False)
        reviewed.commit(project, tag)
    text = page.markdown(review("old", "new"))
    assert "| accuracy under | severities |" in text and "| fog | 1 | 50.00 % | 75.00 % | +25.00 |" in text
    for tag, area in (("old-risk", 0.5), ("new-risk", 0.75)):
        table.assign(roc_auc=area).to_csv(project / "metrics/robustness/corruptions.csv", index=False)
        reviewed.commit(project, tag)
    text = page.markdown(review("old-risk", "new-risk"))
    assert "| ROC AUC under | severities |" in text and "| fog | 1 | 50.00 % | 75.00 % | +25.00 |" in text


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
    assert len(re.findall(r"^\| class \d\d \|", text, re.MULTILINE)) == page.MAX_CLASSES
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
