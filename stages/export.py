"""Exports the trained model as one ONNX file and proves on the whole test set that it answers as the model does.

In: data/arrays, models/trained, models/calibration.json. Out: models/bundle, metrics/export.json.
"""

from darkroom import arrays, bundle, checkpoints, hardware, params
from darkroom.export import check_parity, to_onnx
from darkroom.inference import predict
from darkroom.outputs import new_folder, read_json, write_json
from darkroom.stage import run


def main() -> dict[str, float]:
    settings = params.load("export")
    threads = hardware.use_threads("auto")
    network, description = checkpoints.load("models/trained")
    manifest = arrays.read_manifest("data/arrays")
    checkpoints.require_same_data(description, manifest)
    images = arrays.read_split("data/arrays", "test").images

    calibration = read_json("models/calibration.json")
    with new_folder("models/bundle") as folder:
        contents = to_onnx(network, description, calibration["temperature"], calibration["threshold"], settings.opset)
        (folder / bundle.FILE).write_bytes(contents)
        expected = predict(network, images, manifest.mean, manifest.std)
        parity = check_parity(expected, *bundle.predict(bundle.read(folder, threads), images), settings.tolerance)
        latency = bundle.latency_ms(bundle.read(folder, threads=1))

    write_json("metrics/export.json", {**parity, "size_mb": round(len(contents) / 1e6, 3), "opset": settings.opset})
    print(f"models/bundle: {len(contents) / 1e6:.2f} MB, {parity['samples']} test pictures, every label the same, {latency:.2f} ms a picture")
    return {"latency_ms": round(latency, 3)}


if __name__ == "__main__":
    run("export", main)
