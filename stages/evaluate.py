"""Measure the trained model on the test set, once; temperature and threshold are fitted on the validation set.

In: data/arrays, models/trained.
Out: models/calibration.json, metrics/evaluate.json, metrics/predictions.csv, metrics/evaluate.
"""

import time
from functools import partial

from darkroom.core import arrays, params
from darkroom.core.outputs import write_csv, write_json
from darkroom.core.stage import run
from darkroom.evaluate import confidence, metrics, out_of_scope, report, risk, slices
from darkroom.evaluate.config import EvaluateConfig
from darkroom.evaluate.kinds import KINDS
from darkroom.models.checkpoints import open_trained
from darkroom.models.inference import predict, probabilities


def main() -> dict[str, float]:
    settings = params.load(evaluate=EvaluateConfig)
    trained = open_trained()
    network, manifest = trained.network.to(trained.device), trained.manifest
    val, test = trained.split("val"), trained.split("test")
    kind = KINDS[manifest.kind]
    columns = kind.columns("test")
    sliced, groups = slices.values(columns, settings.slices), columns.get("group")
    started = time.perf_counter()
    val_logits, logits = (predict(network, split.inputs, manifest.mean, manifest.std) for split in (val, test))
    seconds = time.perf_counter() - started

    summary = metrics.summary(logits, test.labels, settings.top_k, groups)
    if settings.test_time_flip and manifest.kind == "image":
        flipped = predict(network, test.inputs[:, :, ::-1], manifest.mean, manifest.std)
        summary["accuracy_test_time_flip"] = metrics.accuracy(logits + flipped, test.labels)
    fitted = confidence.fit(val_logits, val.labels, settings, arrays.read_columns("data/arrays", "val").get("group"))
    strange = kind.stand_ins(test.inputs)
    others = {name: predict(network, inputs, manifest.mean, manifest.std) for name, inputs in strange.items()}
    summary |= confidence.summary(logits, test.labels, fitted, others, groups)
    outside = arrays.read_out_of_scope("data/arrays")
    unknown = predict(network, outside.inputs, manifest.mean, manifest.std) if outside else logits[:0]
    tables, found = out_of_scope.measure(logits, unknown, fitted["temperature"])
    summary |= found
    calibrated = probabilities(logits / fitted["temperature"])
    risks = risk.measure(calibrated, test.labels, kind.positive(manifest.classes), settings.cost, sliced, groups)
    summary |= risks.summary
    fitted |= risks.decision
    about = test.labels, test.ids, manifest.classes, slices.tracked(columns, sliced)
    predictions = metrics.predictions(calibrated, *about)
    shown = (manifest.classes, sliced, groups, partial(kind.show, limit=settings.gallery_size))
    report.write("metrics/evaluate", test, logits, predictions, fitted, *shown, tables | risks.tables)
    write_csv("metrics/predictions.csv", predictions)
    write_json("models/calibration.json", fitted)
    write_json("metrics/evaluate.json", summary)
    print(metrics.summary_line(summary), confidence.line(fitted), *risks.lines, sep="\n")
    return {"images_per_second": round((len(val) + len(test)) / seconds, 1)}


if __name__ == "__main__":
    run("evaluate", main)
