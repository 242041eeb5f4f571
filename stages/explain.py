"""Show which parts of some test examples the trained model uses, and measure how faithful these maps are to the model.

In: data/arrays, models/trained, models/calibration.json. Out: metrics/explain.json, metrics/explain.
"""

import numpy as np

from darkroom.core import arrays, params
from darkroom.core.outputs import new_folder, read_json, write_csv, write_json
from darkroom.core.params import Seed
from darkroom.core.spelling import NOUNS, counted
from darkroom.core.stage import run
from darkroom.explain import attribution, faithfulness, histories, selection, verdict
from darkroom.explain.config import ExplainConfig
from darkroom.explain.images import Images
from darkroom.explain.tables import Tables
from darkroom.explain.texts import Texts
from darkroom.models.checkpoints import open_trained
from darkroom.models.inference import predict, probabilities
from darkroom.recommend.config import RankingConfig

KINDS = {"image": Images, "text": Texts, "table": Tables, "history": histories.Histories}


def main() -> None:
    seed, settings, items = params.load(seed=Seed, explain=ExplainConfig, evaluate=RankingConfig)
    manifest = (trained := open_trained()).manifest
    test, rows = selection.affordable(trained.split("test"), len(manifest.classes), seed)
    network = attribution.Calibrated(trained.network, read_json("models/calibration.json")["temperature"])
    predicted = probabilities(predict(network, test.inputs, manifest.mean, manifest.std))
    if manifest.kind == "history":
        test, rows, predicted = histories.recommended(test, rows, predicted, items.seen_items)
    classes = predicted.argmax(1)

    # The maps are shown for chosen examples, but measured on random ones: chosen ones are not a sample of the test set.
    chosen = selection.select(predicted, test.labels, settings.images_per_kind)
    shown = np.concatenate(list(chosen.values()))
    kinds = [kind for kind, indices in chosen.items() for _ in indices]
    explained = KINDS[manifest.kind](network, manifest, len(shown), min(settings.faithfulness_samples, len(test)))
    sample = faithfulness.sample(len(test), explained.count, seed)
    maps, measured = selection.once(lambda rows: explained.maps(test.inputs[rows], classes[rows]), shown, sample)

    groups = arrays.read_columns("data/arrays", "test").get("group")
    groups = None if groups is None else groups[rows][sample]
    curves = explained.measure(test.inputs[sample], classes[sample], measured, seed)
    comparisons = verdict.compare(areas := faithfulness.areas(curves), groups)
    scores = verdict.summary(areas, comparisons, groups)
    notes = [*verdict.statements(comparisons), *explained.notes]

    with new_folder("metrics/explain") as folder:
        explained.draw(folder, test, selection.Shown(shown, predicted[shown], kinds, maps, scores, notes))
        write_csv(folder / "faithfulness.csv", faithfulness.table(curves, groups))
        write_csv(folder / "comparisons.csv", comparisons)
    write_json("metrics/explain.json", scores | explained.facts)
    number = counted(len(shown), f"test {NOUNS[manifest.kind]}")
    print(f"{number} explained; faithfulness on {len(sample):,} random ones:", *notes)


if __name__ == "__main__":
    run("explain", main)
