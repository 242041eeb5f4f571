"""The evaluation of a classifier of images, texts or rows: accuracy, confidence, calibration, decisions."""

import time
from functools import partial
from types import ModuleType

from darkroom.core import arrays
from darkroom.evaluate import (
    confidence,
    image_examples,
    metrics,
    out_of_scope,
    report,
    risk,
    slices,
    table_examples,
    text_examples,
)
from darkroom.evaluate.config import EvaluateConfig
from darkroom.evaluate.found import Found
from darkroom.evaluate.probabilities import Probabilities
from darkroom.models.checkpoints import Trained
from darkroom.models.inference import predict
from darkroom.models.logits import by_rows

KINDS: dict[str, ModuleType] = {"image": image_examples, "text": text_examples, "table": table_examples}


def measure(trained: Trained, settings: EvaluateConfig) -> Found:
    """Measure the trained model on the test set; temperature and thresholds are fitted on the validation set."""
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
        predicted = by_rows(lambda some, others: (some + others).argmax(1), logits, flipped)
        summary["accuracy_test_time_flip"] = float((predicted == test.labels).mean())
    fitted = confidence.fit(val_logits, val.labels, settings, arrays.read_columns("data/arrays", "val").get("group"))
    strange = kind.stand_ins(test.inputs)
    others = {name: predict(network, inputs, manifest.mean, manifest.std) for name, inputs in strange.items()}
    summary |= confidence.summary(logits, test.labels, fitted, others, groups)
    outside = arrays.read_out_of_scope("data/arrays")
    unknown = predict(network, outside.inputs, manifest.mean, manifest.std) if outside else logits[:0]
    tables, found = out_of_scope.measure(logits, unknown, fitted["temperature"])
    summary |= found
    calibrated = Probabilities(logits, fitted["temperature"])
    risks = risk.measure(calibrated, test.labels, kind.positive(manifest.classes), settings.cost, sliced, groups)
    summary |= risks.summary
    fitted |= risks.decision
    about = test.labels, test.ids, manifest.classes, slices.tracked(columns, sliced)
    predictions = metrics.predictions(calibrated, *about)
    shown = (manifest.classes, sliced, groups, partial(kind.show, limit=settings.gallery_size))
    given = (test, logits, predictions, fitted, *shown, tables | risks.tables)
    return Found(
        summary=summary,
        fitted=fitted,
        predictions=predictions,
        write=lambda folder: report.write(folder, *given),
        lines=(metrics.summary_line(summary), confidence.line(fitted), *risks.lines),
        examples_per_second=(len(val) + len(test)) / seconds,
    )
