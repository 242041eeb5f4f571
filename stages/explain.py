"""Show which pixels the trained model uses in some test images, and measure how faithful these maps are to the model.

In: data/arrays, models/trained, models/calibration.json. Out: metrics/explain.json, metrics/explain.
"""

import numpy as np

from darkroom.core import params
from darkroom.core.arrays import read_columns
from darkroom.core.outputs import new_folder, read_json, write_csv, write_json
from darkroom.core.params import Seed
from darkroom.core.spelling import counted
from darkroom.core.stage import run
from darkroom.explain import attribution, faithfulness, figure, verdict
from darkroom.explain.config import ExplainConfig
from darkroom.explain.selection import select
from darkroom.figures import drawing
from darkroom.models.checkpoints import open_trained
from darkroom.models.inference import predict, probabilities


def main() -> None:
    seed, settings = params.load(seed=Seed, explain=ExplainConfig)
    trained = open_trained()
    manifest, test = trained.manifest, trained.split("test")
    scale = manifest.mean, manifest.std
    network = attribution.Calibrated(trained.network, read_json("models/calibration.json")["temperature"])
    predicted = probabilities(predict(network, test.inputs, *scale))
    classes = predicted.argmax(1)

    # The maps are shown for chosen images, but measured on random ones: chosen ones are no sample of the test set.
    chosen = select(predicted, test.labels, settings.images_per_kind)
    shown = np.concatenate(list(chosen.values()))
    kinds = [kind for kind, indices in chosen.items() for _ in indices]
    maps = attribution.attributions(network, test.inputs[shown], classes[shown], *scale)

    sample = faithfulness.sample(len(test), settings.faithfulness_samples, *test.inputs.shape[1:3], seed)
    groups = read_columns("data/arrays", "test").get("group")
    groups = None if groups is None else groups[sample]
    images, targets = test.inputs[sample], classes[sample]
    measured = attribution.attributions(network, images, targets, *scale)
    curves = faithfulness.measure(network, images, targets, measured, *scale, seed)
    areas = faithfulness.areas(curves)
    comparisons = verdict.compare(areas, groups)
    scores, statements = verdict.summary(areas, comparisons, groups), verdict.statements(comparisons)

    with new_folder("metrics/explain") as folder:
        gallery = figure.draw(
            test.inputs[shown], test.labels[shown], predicted[shown], kinds, maps, scores, statements, manifest.classes
        )
        drawing.save(gallery, folder / "attributions.png")
        write_csv(folder / "faithfulness.csv", faithfulness.table(curves, groups))
        write_csv(folder / "comparisons.csv", comparisons)
    write_json("metrics/explain.json", scores)
    print(f"{counted(len(shown), 'test image')} explained; faithfulness on {len(sample):,} random ones:", *statements)


if __name__ == "__main__":
    run("explain", main)
