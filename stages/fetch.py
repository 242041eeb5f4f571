"""Fetch the raw files of a published dataset and verify them, or index a folder of images.

In: data/datasets/<name>. Out: data/raw.
"""

from darkroom.core import params
from darkroom.core.stage import run
from darkroom.datasets import descriptions, index, sources
from darkroom.datasets.config import DataConfig
from darkroom.datasets.descriptions import ImageFolder


def main() -> None:
    data = params.load(data=DataConfig)
    dataset = descriptions.load(data.dataset)
    fetch = index.build if isinstance(dataset, ImageFolder) else sources.fetch
    source = fetch(dataset, "data/raw")
    print(f"{dataset.title}: {source} (licence: {dataset.licence})")


if __name__ == "__main__":
    run("fetch", main)
