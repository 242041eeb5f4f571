"""Measure the trained model on the test set, once; temperature and threshold are fitted on the validation set.

In: data/arrays, models/trained.
Out: models/calibration.json, metrics/evaluate.json, metrics/predictions.csv, metrics/evaluate.
"""

import time
from functools import partial

from darkroom.core import arrays, params
from darkroom.core.outputs import write_csv, write_json
from darkroom.core.stage import run
from darkroom.evaluate import confidence, image_examples, metrics, out_of_scope, report, slices, text_examples
from darkroom.evaluate.config import EvaluateConfig
from darkroom.models.checkpoints import open_trained
from darkroom.models.inference import predict, probabilities

KINDS = {"image": image_examples, "text": text_examples}


def main() -> dict[str, float]:
    settings = params.load(evaluate=EvaluateConfig)
    trained = open_trained()
    network, manifest = trained.network.to(trained.device), trained.manifest
    val, test = trained.split("val"), trained.split("test")
    columns = arrays.read_columns("data/arrays", "test")
    sliced, groups = slices.values(columns, settings.slices), columns.get("group")
    started = time.perf_counter()
    val_logits, logits = (predict(network, split.inputs, manifest.mean, manifest.std) for split in (val, test))
    seconds = time.perf_counter() - started

    summary = metrics.summary(logits, test.labels, settings.top_k, groups)
    if settings.test_time_flip and manifest.kind == "image":
        flipped = predict(network, test.inputs[:, :, ::-1], manifest.mean, manifest.std)
        summary["accuracy_test_time_flip"] = metrics.accuracy(logits + flipped, test.labels)
    fitted = confidence.fit(val_logits, val.labels, settings, arrays.read_columns("data/arrays", "val").get("group"))
    kind = KINDS[manifest.kind]
    strange = kind.stand_ins(test.inputs)
    others = {kind: predict(network, inputs, manifest.mean, manifest.std) for kind, inputs in strange.items()}
    summary |= confidence.summary(logits, test.labels, fitted, others, groups)
    outside, tables = arrays.read_out_of_scope("data/arrays"), {}
    if outside:
        unknown = predict(network, outside.inputs, manifest.mean, manifest.std)
        tables["out_of_scope.csv"] = found = out_of_scope.table(logits, unknown, fitted["temperature"])
        summary |= out_of_scope.summary(found, len(outside))

    calibrated = probabilities(logits / fitted["temperature"])
    about = test.labels, test.ids, manifest.classes, slices.tracked(columns, sliced)
    predictions = metrics.predictions(calibrated, *about)
    shown = (manifest.classes, sliced, groups, partial(kind.show, limit=settings.gallery_size))
    report.write("metrics/evaluate", test, logits, predictions, fitted, *shown, tables)
    write_csv("metrics/predictions.csv", predictions)
    write_json("models/calibration.json", fitted)
    write_json("metrics/evaluate.json", summary)
    print(metrics.summary_line(summary), confidence.line(fitted), sep="\n")
    return {"images_per_second": round((len(val) + len(test)) / seconds, 1)}


if __name__ == "__main__":
    run("evaluate", main)
