import json
from pathlib import Path

import pytest

from darkroom.review import compare, prior, result, revision, significance
from darkroom.review.noise import Noise
from darkroom.review.revision import WORKSPACE
from darkroom.review.significance import Seeds
from tests import reviewed
from tests.reviewed import STRONG, WEAK


def noise(old: str, new: str | None = None) -> Noise:
    sides = revision.find(old), revision.find(new) if new else WORKSPACE
    return compare.compare(*map(result.read, sides)).noise


def test_without_seeds_there_is_a_stated_prior(project: Path):
    found = noise("weak")
    assert (found.seeds, found.earlier, found.same_weights) == ((None, None), None, False)
    assert found.prior == pytest.approx(prior.retraining_std(200, (0.25 + 0.1) / 2))
    assert "prior for 200 training examples" in found.source


def test_seeds_of_one_side_serve_both(project: Path):
    reviewed.write_seeds(project, 0.88, std=0.02, n=3)
    found = noise("weak")
    assert found.seeds == (None, Seeds(0.88, 0.02, 3))
    assert found.source.startswith("3 seeds of the workspace and a prior")


def test_enough_seeds_of_both_sides_need_no_prior(project: Path):
    for tag, correct in (("old", WEAK), ("new", STRONG)):
        reviewed.write(project, correct, lr=len(correct) + correct.count(True))
        reviewed.write_seeds(project, 0.8, n=significance.ENOUGH_SEEDS)
        reviewed.commit(project, tag)
    assert noise("old", "new").source == "3 seeds of old and 3 seeds of new"


def test_seeds_of_one_recipe_on_both_sides_do_not_hide_that_a_training_went_wrong(project: Path):
    """The seed differs, so the recipe and its seeds are the same; the accuracy fell by 15 points."""
    reviewed.write_seeds(project, 0.9, std=0.01, n=3)
    reviewed.commit(project, "seeds")
    reviewed.write(project, WEAK, lr=0.2)
    reviewed.edit(project / "params.yaml", "seed: 1", "seed: 2")
    reviewed.lock(project)
    found = noise("seeds")
    assert found.seeds == (None, None) and (found.earlier.std, found.earlier.n) == (pytest.approx(0.01), 3)
    assert found.same_recipe and found.source.startswith("3 seeds of seeds and a prior")
    both = compare.compare(*map(result.read, (revision.find("seeds"), WORKSPACE)))
    assert both.recipe_verdict == "worse"


def test_only_the_deviation_counts_where_the_means_are_of_other_examples(project: Path):
    reviewed.write_seeds(project, 0.88, std=0.02, n=3)
    reviewed.commit(project, "seeds")
    reviewed.write(project, STRONG[:-1], lr=0.3)
    found = noise("seeds")
    assert found.seeds == (None, None) and (found.earlier.std, found.earlier.n) == (pytest.approx(0.02), 3)


def test_earlier_seeds_of_several_recipes_are_pooled(project: Path):
    """Two recipes with 3 seeds each; the latest numbers of a recipe count, and those of one seed do not."""
    for number, (std, n) in enumerate([(0.9, 3), (0.01, 3), (0.03, 3), (None, 1)]):
        numbers = {"mean": 0.8, "std": std, "n": n, "recipe": f"recipe {max(1, number)}"}
        (project / "metrics/seeds.json").write_text(json.dumps(numbers))
        reviewed.commit(project, f"seeds-{number}")
    (project / "metrics/seeds.json").unlink()
    found = noise("weak")
    assert (found.earlier.std, found.earlier.n) == (pytest.approx(((0.01**2 + 0.03**2) / 2) ** 0.5), 5)
    assert found.source.startswith("6 seeds of 2 earlier recipes")


def test_earlier_seeds_on_other_data_or_broken_ones_do_not_count(project: Path):
    reviewed.write_seeds(project, 0.8, n=3)
    (project / "metrics/preprocess.json").write_text('{"train": 999, "test": 200}')
    reviewed.commit(project, "other-data")
    (project / "metrics/seeds.json").write_text("{")
    reviewed.commit(project, "broken")
    (project / "metrics/seeds.json").unlink()
    (project / "metrics/preprocess.json").unlink()
    assert noise("weak").earlier is None


def test_both_sides_may_evaluate_one_training(project: Path):
    reviewed.write(project, WEAK, lr=0.2)
    found = noise("strong")
    assert found.same_weights
    both = compare.compare(*map(result.read, (revision.find("strong"), WORKSPACE)))
    assert both.recipe_verdict == both.model_verdict == "worse" and both.recipe.std == 0
