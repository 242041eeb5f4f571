"""Check params.yaml, the dataset and the pretrained weights, before any other stage runs and DVC deletes its outputs.

In: params.yaml. Out: data/checked.json.
"""

from darkroom import schema
from darkroom.core.outputs import write_json
from darkroom.core.stage import run
from darkroom.datasets import descriptions as datasets
from darkroom.datasets import manifest
from darkroom.evaluate import slices
from darkroom.pretrained import descriptions as pretrained


def main() -> None:
    chosen = schema.load()
    dataset, weights = chosen.data.dataset, chosen.model.pretrained
    datasets.require_known(dataset)
    if chosen.evaluate.slices:
        slices.require_known(chosen.evaluate.slices, manifest.columns(datasets.load(dataset).folder))
    pretrained.require_known(weights)
    write_json("data/checked.json", {"dataset": dataset, "pretrained": weights})


if __name__ == "__main__":
    run("check", main, measure_cost=False)
