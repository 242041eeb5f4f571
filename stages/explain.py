"""Shows what the trained model looks at in some test pictures, and measures how faithful these maps are to it.

In: data/arrays, models/trained, models/calibration.json. Out: metrics/explain.json, metrics/explain.
"""

from darkroom import arrays, checkpoints, explanation, hardware, metrics, params, plots
from darkroom.inference import predict
from darkroom.outputs import new_folder, read_json, write_csv, write_json
from darkroom.stage import run


def main() -> None:
    settings = params.load("explain")
    hardware.use_threads("auto")
    network, description = checkpoints.load("models/trained")
    manifest = arrays.read_manifest("data/arrays")
    checkpoints.require_same_data(description, manifest)
    test = arrays.read_split("data/arrays", "test")
    network = explanation.Calibrated(network, read_json("models/calibration.json")["temperature"])  # as sure as it is in production

    probabilities = metrics.probabilities(predict(network, test.images, manifest.mean, manifest.std))
    chosen = explanation.choose(probabilities, test.labels, settings.each)
    images, labels, shares = test.images[chosen], test.labels[chosen], probabilities[chosen]
    maps = explanation.attributions(network, images, shares.argmax(1), manifest.mean, manifest.std)
    curves = explanation.faithfulness(network, images, shares.argmax(1), maps, manifest.mean, manifest.std)
    scores = explanation.areas(curves)

    with new_folder("metrics/explain") as folder:
        plots.save(explanation.figure(images, labels, shares, maps, scores, manifest.classes), folder / "attributions.png")
        write_csv(folder / "faithfulness.csv", curves)
    write_json("metrics/explain.json", scores)
    best = max(maps, key=lambda method: scores[method]["insertion"])
    print(f"{len(chosen)} test pictures explained in {len(maps)} ways; most faithful: {best} ({', '.join(f'{k} {v:.3f}' for k, v in scores[best].items())})")


if __name__ == "__main__":
    run("explain", main)
