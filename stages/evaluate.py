"""Measures the trained model on the test set, once; leaves numbers, every prediction, and a gallery of its worst mistakes.

A temperature and a threshold, which must come from other pictures, come from validation.
In: data/arrays, models/trained. Out: models/calibration.json, metrics/evaluate.json, metrics/predictions.csv, metrics/evaluate.
"""

import time

from darkroom import abstention, arrays, calibration, checkpoints, hardware, labels, metrics, params, plots
from darkroom.inference import predict
from darkroom.outputs import new_folder, write_csv, write_json
from darkroom.stage import run


def main() -> dict[str, float]:
    settings = params.load("evaluate")
    hardware.use_threads("auto")
    network, description = checkpoints.load("models/trained")
    manifest = arrays.read_manifest("data/arrays")
    checkpoints.require_same_data(description, manifest)
    val, test = (arrays.read_split("data/arrays", name) for name in ("val", "test"))
    device = hardware.choose_device("cpu" if description.params["device"] == "cpu" else "auto")  # as it was trained, where that is there
    started = time.perf_counter()
    val_logits, logits = (predict(network.to(device), split.images, manifest.mean, manifest.std) for split in (val, test))
    seconds = time.perf_counter() - started

    summary = metrics.summary(logits, test.labels, settings.top_k)
    if settings.test_time_flip:
        mirrored = predict(network, test.images[:, :, ::-1], manifest.mean, manifest.std)
        summary["accuracy_test_time_flip"] = metrics.accuracy(logits + mirrored, test.labels)
    temperature = calibration.fit_temperature(val_logits, val.labels)
    sure, shares = (metrics.probabilities(some / temperature) for some in (val_logits, logits))
    confidence, right = shares.max(1), shares.argmax(1) == test.labels
    threshold = abstention.threshold(sure.max(1), sure.argmax(1) == val.labels, settings.target_accuracy)
    summary |= {"calibration": calibration.summary(logits, test.labels, temperature), "selective": abstention.summary(confidence, right)}
    summary["abstention"] = abstention.at_threshold(confidence, right, threshold)

    predictions = metrics.predictions(shares, test.labels, test.ids, manifest.classes)
    suspects = labels.table(metrics.probabilities(logits), test.labels, test.ids, manifest.classes)
    with new_folder("metrics/evaluate") as folder:
        write_csv(folder / "per_class.csv", metrics.per_class(logits, test.labels, manifest.classes))
        write_csv(folder / "suspect_labels.csv", suspects)
        write_csv(folder / "reliability.csv", calibration.diagram(logits, test.labels, temperature))
        write_csv(folder / "risk_coverage.csv", abstention.curve(confidence, right))
        gallery = plots.mistakes(test.images, test.labels, logits.argmax(1), confidence, manifest.classes, settings.gallery)
        plots.save(gallery, folder / "mistakes.png")
        plots.save(plots.suspects(test.images, test.ids, suspects, settings.gallery), folder / "suspect_labels.png")
    write_csv("metrics/predictions.csv", predictions)
    write_json("models/calibration.json", {"temperature": temperature, "threshold": threshold})
    write_json("metrics/evaluate.json", summary)
    print(
        f"{len(test)} test pictures: accuracy {summary['accuracy']:.2%} ({summary['accuracy_low']:.2%} to {summary['accuracy_high']:.2%}), "
        f"loss {summary['loss']:.4f}, macro F1 {summary['macro_f1']:.4f}"
    )
    return {"images_per_second": round((len(val) + len(test)) / seconds, 1)}


if __name__ == "__main__":
    run("evaluate", main)
