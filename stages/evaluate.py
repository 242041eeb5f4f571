"""Measure the trained model on the test set, once; temperature and threshold are fitted on the validation set.

In: data/arrays, models/trained.
Out: models/calibration.json, metrics/evaluate.json, metrics/predictions.csv, metrics/evaluate.
"""

import time

from darkroom.core import params
from darkroom.core.outputs import new_folder, write_csv, write_json
from darkroom.core.stage import run
from darkroom.evaluate import abstention, calibration, label_errors, metrics, plots
from darkroom.evaluate.config import EvaluateConfig
from darkroom.figures import drawing
from darkroom.models.checkpoints import open_trained
from darkroom.models.inference import predict, probabilities


def main() -> dict[str, float]:
    settings = params.load(evaluate=EvaluateConfig)
    trained = open_trained()
    network, manifest = trained.network.to(trained.device), trained.manifest
    val, test = trained.split("val"), trained.split("test")
    started = time.perf_counter()
    val_logits, logits = (predict(network, split.inputs, manifest.mean, manifest.std) for split in (val, test))
    seconds = time.perf_counter() - started

    summary = metrics.summary(logits, test.labels, settings.top_k)
    if settings.test_time_flip:
        flipped = predict(network, test.inputs[:, :, ::-1], manifest.mean, manifest.std)
        summary["accuracy_test_time_flip"] = metrics.accuracy(logits + flipped, test.labels)
    temperature = calibration.fit_temperature(val_logits, val.labels)
    val_calibrated, calibrated = (probabilities(some / temperature) for some in (val_logits, logits))
    confidence, correct = calibrated.max(1), calibrated.argmax(1) == test.labels
    val_correct = val_calibrated.argmax(1) == val.labels
    threshold = abstention.threshold(val_calibrated.max(1), val_correct, settings.target_accuracy)
    summary |= calibration.summary(logits, test.labels, temperature)
    summary |= abstention.summary(confidence, correct, threshold)

    suspects = label_errors.table(probabilities(logits), test.labels, test.ids, manifest.classes)
    with new_folder("metrics/evaluate") as folder:
        write_csv(folder / "per_class.csv", metrics.per_class(logits, test.labels, manifest.classes))
        write_csv(folder / "suspect_labels.csv", suspects)
        write_csv(folder / "reliability.csv", calibration.diagram(logits, test.labels, temperature))
        write_csv(folder / "risk_coverage.csv", abstention.curve(confidence, correct))
        gallery = plots.mistakes(
            test.inputs, test.labels, logits.argmax(1), confidence, manifest.classes, settings.gallery_size
        )
        drawing.save(gallery, folder / "mistakes.png")
        gallery = plots.suspects(test.inputs, test.ids, suspects, settings.gallery_size)
        drawing.save(gallery, folder / "suspect_labels.png")
    write_csv("metrics/predictions.csv", metrics.predictions(calibrated, test.labels, test.ids, manifest.classes))
    write_json("models/calibration.json", {"temperature": temperature, "threshold": threshold})
    write_json("metrics/evaluate.json", summary)
    print(metrics.summary_line(summary))
    return {"images_per_second": round((len(val) + len(test)) / seconds, 1)}


if __name__ == "__main__":
    run("evaluate", main)
