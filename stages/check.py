"""Check the whole of params.yaml and that the dataset exists, before any other stage runs and DVC deletes its outputs.

In: params.yaml. Out: data/checked.json.
"""

from darkroom import schema
from darkroom.core.outputs import write_json
from darkroom.core.stage import run
from darkroom.datasets import descriptions


def main() -> None:
    dataset = schema.load().data.dataset
    descriptions.require_known(dataset)
    write_json("data/checked.json", {"dataset": dataset})


if __name__ == "__main__":
    run("check", main, measure_cost=False)
