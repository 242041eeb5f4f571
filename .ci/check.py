"""Checks what `dvc repro` left with the default parameters: the numbers in metrics/, and the bundle."""

import json
from pathlib import Path

LIMITS = {  # file: {key: (least, most)}
    "preprocess": {"train": (54000, 54000), "val": (6000, 6000), "test": (10000, 10000)},
    "train": {"val_accuracy": (0.925, 1), "parameters": (1, 1e6)},
    "evaluate": {"accuracy": (0.925, 1), "macro_f1": (0.925, 1), "loss": (0, 0.7)},
    "export": {"max_abs_difference": (0, 1e-3), "size_mb": (0.01, 20)},
    **{f"cost/{stage}": {"seconds": (0, 300), "peak_memory_mb": (10, 1500)} for stage in ("fetch", "preprocess", "train", "evaluate", "export")},
}


def main() -> None:
    for name, limits in LIMITS.items():
        values = json.loads(Path(f"metrics/{name}.json").read_text(encoding="utf-8"))
        for key, (least, most) in limits.items():
            if not least <= values[key] <= most:
                raise SystemExit(f"metrics/{name}.json: {key} = {values[key]} is not within {least} to {most}.")
    if not Path("models/bundle/model.onnx").is_file():
        raise SystemExit("models/bundle/model.onnx is missing.")
    print("all numbers are within their limits")


if __name__ == "__main__":
    main()
