"""Show which pixels the trained model uses in some test images, and measure how faithful these maps are to the model.

In: data/arrays, models/trained, models/calibration.json. Out: metrics/explain.json, metrics/explain.
"""

import numpy as np

from darkroom.core import arrays, params
from darkroom.core.outputs import new_folder, read_json, write_csv, write_json
from darkroom.core.params import Seed
from darkroom.core.spelling import counted
from darkroom.core.stage import run
from darkroom.explain import attribution, budget, faithfulness, figure, verdict, work
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
    size, wanted = test.inputs.shape[1:3], min(settings.faithfulness_samples, len(test))
    detail, count = budget.plan(work.seconds(network, manifest.shape), *size, len(shown), wanted)
    maps = attribution.attributions(network, test.inputs[shown], classes[shown], *scale, detail)

    sample = faithfulness.sample(len(test), count, seed)
    columns = arrays.read_columns("data/arrays", "test")
    groups = columns["group"][sample] if "group" in columns else None
    images = test.inputs[sample], classes[sample]
    measured = attribution.attributions(network, *images, *scale, detail)
    areas = faithfulness.areas(curves := faithfulness.measure(network, *images, measured, *scale, seed, detail))
    comparisons = verdict.compare(areas, groups)
    scores = verdict.summary(areas, comparisons, groups)
    notes = [*verdict.statements(comparisons), *detail.notes(*size)]

    with new_folder("metrics/explain") as folder:
        given = test.inputs[shown], test.labels[shown], predicted[shown]
        gallery = figure.draw(*given, kinds, maps, scores, notes, manifest.classes)
        drawing.save(gallery, folder / "attributions.png")
        write_csv(folder / "faithfulness.csv", faithfulness.table(curves, groups))
        write_csv(folder / "comparisons.csv", comparisons)
    write_json("metrics/explain.json", scores | detail.metrics(*size))
    print(f"{counted(len(shown), 'test image')} explained; faithfulness on {len(sample):,} random ones:", *notes)


if __name__ == "__main__":
    run("explain", main)
