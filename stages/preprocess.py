"""Turns raw files, or the pictures of an index, into cleaned, split and packed arrays, and reports on the data.

In: data/raw, data/datasets/<name>. Out: data/arrays, metrics/preprocess.json, metrics/data.
"""

from darkroom import arrays, cleaning, duplicates, formats, labels, params, report, splits
from darkroom.denoising import denoise
from darkroom.outputs import write_json
from darkroom.stage import run


def main() -> None:
    seed, settings = params.load("seed", "preprocess")
    raw = formats.read("data/raw", settings)
    dataset, classes, unusable = raw.description, raw.description.classes, {}
    with arrays.Pack("data", raw.shape) as pack:
        seen = cleaning.survey(pack.keep(denoise(block, settings.denoise) for block in raw.blocks(unusable)))
        cleaning.refuse_too_many(unusable, raw.samples, settings.max_bad_fraction)
        samples = labels.corrected(raw.samples, dataset.folder / settings.relabel, classes) if settings.relabel else raw.samples
        samples = splits.hold_out(samples, "test", settings.test_fraction, classes, seed, settings.clean.min_class_size)
        found = cleaning.inspect(samples, seen, unusable, raw.aspects, classes, settings.clean)
        samples, classes = cleaning.leave_out(samples, found, classes)
        samples = splits.hold_out(samples, "val", settings.val_fraction, classes, seed)
        pairs = duplicates.near(pack, cleaning.distinct(samples, seen), settings.clean.near_leak)
        near, leaks = duplicates.described(pairs, samples, classes), cleaning.near_leaks(samples, seen, pairs)
        samples, classes = cleaning.leave_out(samples, leaks, classes)
        about = {"dataset": dataset.name, "title": dataset.title, "licence": dataset.licence, "classes": classes, "augmentation": dataset.augmentation}
        manifest = arrays.write("data/arrays", pack, samples, about)

    findings = [*found.values(), *leaks.values()]
    parts = {name: arrays.read_split("data/arrays", name) for name in manifest.counts}
    report.write("metrics/data", parts, manifest, findings, near, seed)
    write_json("metrics/preprocess.json", report.summary(manifest, parts["train"].labels, findings))
    sizes = ", ".join(f"{count} {name}" for name, count in manifest.counts.items())
    print(f"{dataset.title}: {sizes} pictures; {report.account(findings)} (metrics/data)")


if __name__ == "__main__":
    run("preprocess", main)
