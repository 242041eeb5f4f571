"""Turns the verified raw files into cleaned, split and packed arrays, and reports on the data.

In: data/raw. Out: data/arrays, metrics/preprocess.json, metrics/data.
"""

from darkroom import arrays, cleaning, formats, params, report, splits
from darkroom.outputs import write_json
from darkroom.stage import run


def main() -> None:
    seed, settings = params.load("seed", "preprocess")
    raw = formats.read("data/raw")
    dataset, classes = raw.description, raw.description.classes
    train, test = (
        splits.official(name, cleaning.denoise(part.images, settings.denoise), part.labels) for name, part in (("train", raw.train), ("test", raw.test))
    )
    dropped, suspect = cleaning.inspect(train, classes, test), cleaning.inspect(test, classes)
    train = cleaning.drop(train, dropped, classes)
    train, val = splits.stratify(train, classes, settings.val_fraction, seed)
    parts = {"train": train, "val": val, "test": test}

    about = {name: getattr(dataset, name) for name in ("title", "licence", "classes", "augmentation")}
    manifest = arrays.write("data/arrays", parts, {"dataset": dataset.name, **about})
    report.write("metrics/data", parts, manifest, dropped, suspect, seed)
    write_json("metrics/preprocess.json", report.summary(manifest, train.labels, dropped, suspect))
    sizes = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
    print(f"{dataset.title}: {sizes} pictures; {len(dropped)} dropped, {len(suspect)} suspect in test (metrics/data)")


if __name__ == "__main__":
    run("preprocess", main)
