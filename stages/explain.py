"""Show which pixels the trained model uses in some test images, and measure how faithful these maps are to the model.

In: data/arrays, models/trained, models/calibration.json. Out: metrics/explain.json, metrics/explain.
"""

from darkroom.core import params
from darkroom.core.outputs import new_folder, read_json, write_csv, write_json
from darkroom.core.stage import run
from darkroom.explain import attribution, faithfulness, figure
from darkroom.explain.config import ExplainConfig
from darkroom.explain.selection import select
from darkroom.figures import drawing
from darkroom.models.checkpoints import open_trained
from darkroom.models.inference import predict, probabilities


def main() -> None:
    settings = params.load(explain=ExplainConfig)
    trained = open_trained()
    manifest, test = trained.manifest, trained.split("test")
    scale = manifest.mean, manifest.std
    network = attribution.Calibrated(trained.network, read_json("models/calibration.json")["temperature"])

    predicted = probabilities(predict(network, test.inputs, *scale))
    selected = select(predicted, test.labels, settings.images_per_kind)
    images, labels, predicted = test.inputs[selected], test.labels[selected], predicted[selected]
    maps = attribution.attributions(network, images, predicted.argmax(1), *scale)
    curves = faithfulness.curves(network, images, predicted.argmax(1), maps, *scale)
    areas = faithfulness.areas(curves)

    with new_folder("metrics/explain") as folder:
        drawing.save(figure.draw(images, labels, predicted, maps, areas, manifest.classes), folder / "attributions.png")
        write_csv(folder / "faithfulness.csv", curves)
    write_json("metrics/explain.json", faithfulness.summary(areas))
    print(faithfulness.summary_line(areas, len(selected)))


if __name__ == "__main__":
    run("explain", main)
