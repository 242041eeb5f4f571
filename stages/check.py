"""Check params.yaml, the dataset, pretrained weights and teacher, before any other stage runs and DVC deletes outputs.

In: params.yaml. Out: data/checked.json.
"""

from darkroom import schema
from darkroom.core.outputs import write_json
from darkroom.core.stage import run
from darkroom.datasets import descriptions as datasets
from darkroom.datasets import histories, manifest, table_folder, texts
from darkroom.evaluate import slices
from darkroom.pretrained import consistency
from darkroom.teachers import descriptions as teachers

COLUMNS = {
    "image": lambda loaded: manifest.columns(loaded.folder),
    "text": texts.columns,
    "table": table_folder.columns,
    "history": histories.columns,
}


def main() -> None:
    chosen = schema.load()
    dataset = chosen.data.dataset
    datasets.require_known(dataset)
    if chosen.evaluate.slices:
        loaded = datasets.load(dataset)
        columns = COLUMNS[loaded.kind](loaded)
        slices.require_known(chosen.evaluate.slices, columns)
    train, given = chosen.train, chosen.preprocess
    inputs = given.color, given.text.tokenizer
    consistency.require_consistent(chosen.model, *inputs, train.tune, train.batch_norm)
    if chosen.train.distill.teacher != teachers.NONE:
        teachers.load(chosen.train.distill.teacher)
    write_json("data/checked.json", {"valid": True})  # always the same: a stage must not rerun for a change it ignores


if __name__ == "__main__":
    run("check", main, measure_cost=False)
