"""Measures the trained model on the test set, once; leaves numbers, every prediction, and a gallery of its worst mistakes.

In: data/arrays, models/trained. Out: metrics/evaluate.json, metrics/predictions.csv, metrics/evaluate.
"""

import time

from darkroom import arrays, checkpoints, hardware, labels, metrics, params, plots
from darkroom.inference import predict
from darkroom.outputs import new_file, new_folder, write_json
from darkroom.stage import run


def main() -> dict[str, float]:
    settings = params.load("evaluate")
    hardware.use_threads("auto")
    network, description = checkpoints.load("models/trained")
    manifest = arrays.read_manifest("data/arrays")
    checkpoints.require_same_data(description, manifest)
    test = arrays.read_split("data/arrays", "test")

    device = hardware.choose_device("cpu" if description.params["device"] == "cpu" else "auto")  # as it was trained, where that is there
    started = time.perf_counter()
    logits = predict(network.to(device), test.images, manifest.mean, manifest.std)
    seconds = time.perf_counter() - started

    summary = metrics.summary(logits, test.labels, settings.top_k)
    if settings.test_time_flip:
        mirrored = predict(network, test.images[:, :, ::-1], manifest.mean, manifest.std)
        summary["accuracy_test_time_flip"] = metrics.accuracy(logits + mirrored, test.labels)
    predictions = metrics.predictions(logits, test.labels, test.ids, manifest.classes)
    with new_folder("metrics/evaluate") as folder:
        metrics.per_class(logits, test.labels, manifest.classes).to_csv(folder / "per_class.csv", index=False, float_format="%.6f", lineterminator="\n")
        suspects = labels.table(metrics.probabilities(logits), test.labels, test.ids, manifest.classes)
        suspects.to_csv(folder / "suspect_labels.csv", index=False, float_format="%.6f", lineterminator="\n")
        gallery = plots.mistakes(test.images, test.labels, logits.argmax(1), predictions["confidence"].to_numpy(), manifest.classes, settings.gallery)
        plots.save(gallery, folder / "mistakes.png")
    with new_file("metrics/predictions.csv") as file:
        predictions.to_csv(file, index=False, float_format="%.6f", lineterminator="\n")
    write_json("metrics/evaluate.json", summary)
    print(
        f"{len(test)} test pictures: accuracy {summary['accuracy']:.2%} ({summary['accuracy_low']:.2%} to {summary['accuracy_high']:.2%}), "
        f"loss {summary['loss']:.4f}, macro F1 {summary['macro_f1']:.4f}"
    )
    return {"images_per_second": round(len(test) / seconds, 1)}


if __name__ == "__main__":
    run("evaluate", main)
