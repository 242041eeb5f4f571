"""Checks what `dvc repro` left with the default parameters: the numbers in metrics/, and the bundle."""

import json
from pathlib import Path

LIMITS = {  # file: {key: (least, most)}
    "preprocess": {
        "train": (53900, 54000),
        "val": (5950, 6000),
        "test": (10000, 10000),
        "left_out_near_leak": (20, 100),
    },
    "train": {"val_accuracy": (0.925, 1), "parameters": (1, 1e6)},
    "evaluate": {"accuracy": (0.925, 1), "macro_f1": (0.925, 1), "loss": (0, 0.7), "accuracy_low": (0.92, 1)},
    "robustness": {"mean_accuracy": (0.5, 0.95), "mean_corruption_error": (0.3, 1.5)},
    "export": {"max_abs_difference": (0, 1e-3), "size_mb": (0.01, 20)},
    **{
        f"cost/{stage}": {"seconds": (0, 300), "peak_memory_mb": (10, 1500)}
        for stage in ("fetch", "preprocess", "train", "evaluate", "robustness", "explain", "export")
    },
}


def main() -> None:
    for name, limits in LIMITS.items():
        values = json.loads(Path(f"metrics/{name}.json").read_text(encoding="utf-8"))
        for key, (least, most) in limits.items():
            if not least <= values[key] <= most:
                raise SystemExit(f"metrics/{name}.json: {key} = {values[key]} is not within {least} to {most}.")
    if not json.loads(Path("metrics/evaluate.json").read_text(encoding="utf-8"))["calibration"]["after"]["ece"] < 0.02:
        raise SystemExit("metrics/evaluate.json: the probabilities are not calibrated.")
    if not Path("models/bundle/model.onnx").is_file():
        raise SystemExit("models/bundle/model.onnx is missing.")
    print("all numbers are within their limits")


if __name__ == "__main__":
    main()
