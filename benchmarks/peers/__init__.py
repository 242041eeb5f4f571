"""What others put around a trained model, for benchmarks.serving to compare with: `python -m benchmarks.peers.plain --port 8001`, or `.lit`.

Both decode with Pillow and run the network of models/trained with PyTorch, on one thread.
"""

import argparse
import io

import numpy as np
import torch
from PIL import Image

from darkroom.models import checkpoints
from darkroom.models.normalisation import normalise


class Classifier:
    """The trained network, and from a picture's bytes to its probabilities."""

    def __init__(self) -> None:
        self.network, self.description = checkpoints.load("models/trained")
        torch.set_num_threads(1)

    def answer(self, contents: bytes) -> dict[str, object]:
        """The label and the probabilities of a picture file."""
        height, width, channels = self.description.shape
        picture = Image.open(io.BytesIO(contents)).convert("L" if channels == 1 else "RGB").resize((width, height))
        images = torch.from_numpy(np.array(picture).reshape(1, height, width, channels))
        with torch.inference_mode():
            probabilities = (
                self.network(normalise(images, self.description.mean, self.description.std)).softmax(1)[0].tolist()
            )
        return {"label": self.description.classes[int(np.argmax(probabilities))], "probabilities": probabilities}


def port(name: str, what: str) -> int:
    """The port that the command line of the module `name` asks for."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=what)
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    return parser.parse_args().port
