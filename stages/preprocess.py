"""Turn raw data into cleaned, split and packed arrays, and report on the data.

In: data/raw, data/datasets/<name>. Out: data/arrays, metrics/preprocess.json, metrics/data.
"""

from darkroom.core import arrays, params
from darkroom.core.outputs import write_json
from darkroom.core.params import Seed
from darkroom.core.stage import run
from darkroom.inputs.denoising import denoise_with_centre
from darkroom.preprocess import cleaning, groups, packing, raw_data, report, selection, shift, splits
from darkroom.preprocess.config import PreprocessConfig


def main() -> None:
    seed, settings = params.load(seed=Seed, preprocess=PreprocessConfig)
    raw, undecodable = raw_data.read("data/raw", settings), {}
    for notice in (raw.size_notice, splits.notice(raw.samples, settings.test_fraction)):
        if notice:
            print(notice)
    if raw.intensities.warning:
        print(f"Warning: {raw.intensities.warning}")
    with packing.Pack("data", raw.shape) as pack:
        blocks = (denoise_with_centre(block, settings.denoise, raw.size) for block in raw.blocks(undecodable))
        scan = cleaning.scan_pixels(pack.keep(blocks))
        cleaning.check_decoded(undecodable, raw.samples, settings.max_bad_fraction)
        selected = selection.select(raw, pack, scan, undecodable, settings, seed)
        shared = raw.description, selected.classes, (*raw.size, raw.shape[2]), settings, raw.intensities.range
        manifest = packing.write("data/arrays", pack, selected.samples, *shared)

    parts = {name: arrays.read_split("data/arrays", name) for name in manifest.counts}
    dominant = groups.dominant(selected.samples, selected.classes)
    for warning in groups.warnings(dominant):
        print(f"Warning: {warning}")
    unlabelled = parts.get(arrays.UNLABELLED)
    shifted = shift.measure(parts["train"], unlabelled, seed) if unlabelled else None
    for warning in (selected.warning, shifted.warning if shifted else ""):
        if warning:
            print(f"Warning: {warning}")
    facts = selected.findings, selected.near_duplicates, dominant, seed, shifted
    report.write("metrics/data", parts, manifest, *facts)
    write_json("metrics/preprocess.json", report.summary(manifest, parts["train"].labels, selected.findings, shifted))
    print(f"{report.summary_line(manifest, selected.findings)} (metrics/data)")


if __name__ == "__main__":
    run("preprocess", main)
