"""Show which pixels the trained model uses in some test images, and measure how faithful these maps are to it.

In: data/arrays, models/trained, models/calibration.json. Out: metrics/explain.json, metrics/explain.
"""

from darkroom.core import params
from darkroom.core.outputs import new_folder, read_json, write_csv, write_json
from darkroom.core.stage import run
from darkroom.explain import attribution, faithfulness, figure
from darkroom.explain.config import ExplainConfig
from darkroom.figures import drawing
from darkroom.models.inference import predict, probabilities
from darkroom.models.trained import open_trained


def main() -> None:
    settings = params.load(explain=ExplainConfig)
    trained = open_trained()
    manifest, test = trained.manifest, trained.split("test")
    scale = manifest.mean, manifest.std
    network = attribution.Calibrated(trained.network, read_json("models/calibration.json")["temperature"])

    answers = probabilities(predict(network, test.inputs, *scale))
    chosen = attribution.choose(answers, test.labels, settings.images_per_kind)
    images, labels, answers = test.inputs[chosen], test.labels[chosen], answers[chosen]
    maps = attribution.attributions(network, images, answers.argmax(1), *scale)
    curves = faithfulness.curves(network, images, answers.argmax(1), maps, *scale)
    areas = faithfulness.areas(curves)

    with new_folder("metrics/explain") as folder:
        drawing.save(figure.draw(images, labels, answers, maps, areas, manifest.classes), folder / "attributions.png")
        write_csv(folder / "faithfulness.csv", curves)
    write_json("metrics/explain.json", faithfulness.summary(areas))
    print(faithfulness.sentence(areas, len(chosen)))


if __name__ == "__main__":
    run("explain", main)
