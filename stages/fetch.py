"""Bring the raw files of the chosen dataset, verified against published digests, or index a folder of images.

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
    bring = index.build if isinstance(dataset, ImageFolder) else sources.fetch
    source = bring(dataset, "data/raw")
    print(f"{dataset.title} (licence: {dataset.licence}): from {source}")


if __name__ == "__main__":
    run("fetch", main)
