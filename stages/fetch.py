"""Brings the raw files of the dataset that params.yaml names, and checks that they are the published ones.

In: data/datasets/<name>. Out: data/raw.
"""

from darkroom import datasets, params, sources
from darkroom.stage import run


def main() -> None:
    data = params.load("data")
    dataset = datasets.load(data.dataset)
    source = sources.fetch(dataset, "data/raw")
    print(f"{dataset.title} ({dataset.licence}): served by {source}")


if __name__ == "__main__":
    run("fetch", main)
