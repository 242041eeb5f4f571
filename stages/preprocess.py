"""Turn raw data into cleaned, split and packed arrays, and report on the data.

In: data/raw, data/datasets/<name>. Out: data/arrays, metrics/preprocess.json, metrics/data.
"""

from functools import partial

from darkroom.core import arrays, params
from darkroom.core.outputs import write_json
from darkroom.core.params import Seed
from darkroom.core.stage import run
from darkroom.preprocess import cleaning, groups, histories, images, raw_data, report, shift, tables, texts
from darkroom.preprocess.config import PreprocessConfig

KINDS = {
    "image": (images, images.Images),
    "text": (texts, texts.Texts),
    "table": (tables, tables.Tables),
    "history": (histories, histories.Histories),
}


def main() -> None:
    seed, settings = params.load(seed=Seed, preprocess=PreprocessConfig)
    kind, read = KINDS[raw_data.describe("data/raw").kind]
    examples = read("data/raw", settings)
    for notice in examples.notices:
        print(notice)
    with examples:
        cleaning.check_decoded(examples.unusable, examples.samples, settings.max_bad_fraction)
        selected = kind.select(examples, settings, seed)
        manifest = examples.write("data/arrays", selected.samples, selected.classes)

    parts = {name: arrays.read_split("data/arrays", name) for name in manifest.counts}
    dominant = groups.dominant(selected.samples, selected.classes)
    for warning in groups.warnings(dominant):
        print(f"Warning: {warning}")
    unlabelled = parts.get(arrays.UNLABELLED)
    shifted = None
    if unlabelled and manifest.kind == "image":
        shifted = shift.measure(parts["train"], unlabelled, seed, cleaning.labelled(selected.findings))
    for warning in (selected.warning, shifted.warning if shifted else ""):
        if warning:
            print(f"Warning: {warning}")
    found = selected.findings, selected.near_duplicates, dominant
    write_samples = partial(kind.write_samples, splits=parts, manifest=manifest, seed=seed)
    report.write("metrics/data", parts, kind.counts(parts, manifest.classes), *found, write_samples, shifted)
    facts = selected.findings, kind.facts(manifest, parts), shifted
    write_json("metrics/preprocess.json", report.summary(manifest, parts["train"].labels, *facts))
    print(f"{report.summary_line(manifest, selected.findings)} (metrics/data)")
    if missing := arrays.missing_labels(manifest):
        print(missing)


if __name__ == "__main__":
    run("preprocess", main)
