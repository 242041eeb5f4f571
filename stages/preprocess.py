"""Turn raw data into cleaned, split and packed arrays, and report on the data.

In: data/raw, data/datasets/<name>. Out: data/arrays, metrics/preprocess.json, metrics/data.
"""

from darkroom.core import arrays, params
from darkroom.core.outputs import write_json
from darkroom.core.params import Seed
from darkroom.core.stage import run
from darkroom.inputs.denoising import denoise
from darkroom.preprocess import cleaning, duplicates, packing, raw_data, relabel, report, splits
from darkroom.preprocess.config import PreprocessConfig


def main() -> None:
    seed, settings = params.load(seed=Seed, preprocess=PreprocessConfig)
    raw = raw_data.read("data/raw", settings)
    dataset, classes, unusable = raw.description, raw.description.classes, {}
    with packing.Pack("data", raw.shape) as pack:
        seen = cleaning.survey(pack.keep(denoise(block, settings.denoise) for block in raw.blocks(unusable)))
        cleaning.refuse_too_many(unusable, raw.samples, settings.max_bad_fraction)
        samples = relabel.apply(raw.samples, dataset.folder, settings.relabel, classes)
        samples = splits.hold_out(samples, "test", settings.test_fraction, classes, seed, settings.clean.min_class_size)
        found = cleaning.inspect(samples, seen, unusable, raw.aspects, classes, settings.clean)
        samples, classes = cleaning.leave_out(samples, found, classes)
        samples = splits.hold_out(samples, "val", settings.val_fraction, classes, seed)
        pairs = duplicates.near(pack, cleaning.distinct(samples, seen), settings.clean.near_leak)
        near, leaks = duplicates.described(pairs, samples, classes), cleaning.near_leaks(samples, seen, pairs)
        samples, classes = cleaning.leave_out(samples, leaks, classes)
        manifest = packing.write("data/arrays", pack, samples, dataset, classes)

    findings = [*found.values(), *leaks.values()]
    parts = {name: arrays.read_split("data/arrays", name) for name in manifest.counts}
    report.write("metrics/data", parts, manifest, findings, near, seed)
    write_json("metrics/preprocess.json", report.summary(manifest, parts["train"].labels, findings))
    sizes = ", ".join(f"{count} {name}" for name, count in manifest.counts.items())
    print(f"{dataset.title}: {sizes} images; {report.account(findings)} (metrics/data)")


if __name__ == "__main__":
    run("preprocess", main)
