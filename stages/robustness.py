"""Measures the trained model on corrupted test pictures: noise, blur, movements, light, compression, each at several severities.

In: data/arrays, data/baselines, models/trained. Out: metrics/robustness.json, metrics/robustness.
"""

from darkroom import arrays, checkpoints, hardware, params, robustness
from darkroom.outputs import new_folder, write_csv, write_json
from darkroom.stage import run


def main() -> None:
    seed, settings = params.load("seed", "robustness")
    hardware.use_threads("auto")
    network, description = checkpoints.load("models/trained")
    manifest = arrays.read_manifest("data/arrays")
    checkpoints.require_same_data(description, manifest)
    test = arrays.read_split("data/arrays", "test")
    device = hardware.choose_device("cpu" if description.params["device"] == "cpu" else "auto")
    precision = hardware.PRECISIONS[hardware.choose_precision("auto", device)]
    baseline = robustness.read_baseline(f"data/baselines/{manifest.dataset}.csv", settings.severities)  # a mistake in it is told before the work

    table = robustness.measure(network.to(device), test, manifest, settings.severities, seed, precision)
    with new_folder("metrics/robustness") as folder:
        write_csv(folder / "corruptions.csv", table)
    summary = robustness.summary(table, baseline)
    write_json("metrics/robustness.json", summary)
    worst = min(summary["accuracy"], key=summary["accuracy"].get)
    print(f"{len(test)} test pictures, corrupted: mean accuracy {summary['mean_accuracy']:.2%}, least {summary['accuracy'][worst]:.2%} ({worst})")


if __name__ == "__main__":
    run("robustness", main)
