"""Measure the trained model on corrupted test examples: noise and others of images, typing errors, lost events.

In: data/arrays, data/baselines, models/trained. Out: metrics/robustness.json, metrics/robustness.
"""

from darkroom.core import params
from darkroom.core.outputs import new_folder, write_csv, write_json
from darkroom.core.params import Seed
from darkroom.core.stage import run
from darkroom.models.checkpoints import open_trained
from darkroom.recommend.config import RankingConfig
from darkroom.robustness import (
    corruptions,
    history_corruptions,
    measurement,
    scores,
    table_corruptions,
    text_corruptions,
)
from darkroom.robustness.config import RobustnessConfig

KINDS = {"image": corruptions, "text": text_corruptions, "table": table_corruptions, "history": history_corruptions}


def main() -> None:
    seed, settings, items = params.load(seed=Seed, robustness=RobustnessConfig, evaluate=RankingConfig)
    trained = open_trained()
    test = trained.split("test")
    samples = measurement.affordable(settings.samples, len(settings.severities), test.inputs.shape[1:])
    test = measurement.subset(test, samples, seed)
    path = f"data/baselines/{trained.manifest.dataset}.csv"
    baseline = measurement.read_baseline(path, settings.severities)  # before the work: it may have an error

    kind = trained.manifest.kind
    score, names = scores.of_classes(test), None
    if kind == "history":
        score = scores.of_items(test, items.seen_items)
    elif kind == "table":
        names = table_corruptions.applicable(trained.manifest.shape)
        score = scores.of_risks(test) if len(trained.manifest.classes) == 2 else score
    table = measurement.measure(trained, test, settings.severities, seed, KINDS[kind], score, names)
    with new_folder("metrics/robustness") as folder:
        write_csv(folder / "corruptions.csv", measurement.with_baseline(table, baseline))
    write_json("metrics/robustness.json", {**measurement.summary(table, baseline), "samples": len(test)})
    print(measurement.summary_line(table, len(test)))


if __name__ == "__main__":
    run("robustness", main)
