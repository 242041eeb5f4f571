"""Measure the trained model on the test set, once; temperature and threshold are fitted on the validation set.

In: data/arrays, models/trained.
Out: models/calibration.json, metrics/evaluate.json, metrics/predictions.csv, metrics/evaluate.
"""

from darkroom.core import params
from darkroom.core.outputs import write_csv, write_json
from darkroom.core.stage import run
from darkroom.evaluate.config import EvaluateConfig
from darkroom.evaluate.kinds import MEASURES
from darkroom.models.checkpoints import open_trained


def main() -> dict[str, float]:
    settings = params.load(evaluate=EvaluateConfig)
    trained = open_trained()
    found = MEASURES[trained.manifest.kind](trained, settings)
    found.write("metrics/evaluate")
    write_csv("metrics/predictions.csv", found.predictions)
    write_json("models/calibration.json", found.fitted)
    write_json("metrics/evaluate.json", found.summary)
    print(*found.lines, sep="\n")
    return {"images_per_second": round(found.examples_per_second, 1)}


if __name__ == "__main__":
    run("evaluate", main)
