"""Brings the raw files of the dataset that params.yaml names, checked against those published; or indexes a folder of pictures.

In: data/datasets/<name>. Out: data/raw.
"""

from darkroom import datasets, index, params, sources
from darkroom.stage import run


def main() -> None:
    data = params.load("data")
    dataset = datasets.load(data.dataset)
    source = (index.build if isinstance(dataset, datasets.Pictures) else sources.fetch)(dataset, "data/raw")
    print(f"{dataset.title} ({dataset.licence}): from {source}")


if __name__ == "__main__":
    run("fetch", main)
