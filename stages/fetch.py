"""Fetch the raw files of a published dataset and verify them, or index a folder of another kind.

In: data/datasets/<name>. Out: data/raw.
"""

from darkroom.core import params
from darkroom.core.stage import run
from darkroom.datasets import descriptions, histories, index, sources, table_folder, texts
from darkroom.datasets.config import DataConfig
from darkroom.datasets.descriptions import HistoryFolder, ImageFolder, Published, TableFolder, TextFolder

FETCH = {
    ImageFolder: index.build,
    TextFolder: texts.build,
    TableFolder: table_folder.build,
    HistoryFolder: histories.build,
    Published: sources.fetch,
}


def main() -> None:
    data = params.load(data=DataConfig)
    dataset = descriptions.load(data.dataset)
    source = FETCH[type(dataset)](dataset, "data/raw")
    print(f"{dataset.title}: {source} (licence: {dataset.licence})")


if __name__ == "__main__":
    run("fetch", main)
