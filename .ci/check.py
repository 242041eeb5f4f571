"""Checks what `dvc repro` left with the default parameters: metrics and bundle, but no times, since machines differ."""

import csv
import json
from pathlib import Path

STAGES = ("fetch", "preprocess", "train", "evaluate", "robustness", "explain", "export")
LIMITS = {  # file: {key: (least, most)}
    "preprocess": {"train": (53900, 54000), "val": (5950, 6000), "test": (10000, 10000), "removed": (20, 100)},
    "train": {"val_accuracy": (0.925, 1), "parameters": (1, 1e6)},
    "evaluate": {
        "accuracy": (0.925, 1),
        "accuracy_low": (0.92, 1),
        "macro_f1": (0.925, 1),
        "loss": (0, 0.7),
        "expected_calibration_error": (0, 0.025),
    },
    "robustness": {"mean_accuracy": (0.5, 0.95), "mean_corruption_error": (0.3, 1.5)},
    "export": {"max_abs_difference": (0, 1e-3), "size_mb": (0.01, 20)},
    **{f"cost/{stage}": {"peak_memory_mb": (10, 2000)} for stage in STAGES},
}


def main() -> None:
    for name, limits in LIMITS.items():
        values = json.loads(Path(f"metrics/{name}.json").read_text(encoding="utf-8"))
        for key, (least, most) in limits.items():
            if not least <= values[key] <= most:
                raise SystemExit(f"metrics/{name}.json: {key} = {values[key]} is not within {least} to {most}.")
    with Path("metrics/data/findings.csv").open(encoding="utf-8", newline="") as file:
        if not any(row["rule"] == "near_leak" and row["action"] == "removed" for row in csv.DictReader(file)):
            raise SystemExit("metrics/data/findings.csv: no near duplicate of a validation or test image was found.")
    if not Path("models/bundle/model.onnx").is_file():
        raise SystemExit("models/bundle/model.onnx is missing.")
    print("all numbers are within their limits")


if __name__ == "__main__":
    main()
