"""Other servers for the same trained model, for comparison in benchmarks.serving; trainers.py has other trainers.

`python -m benchmarks.peers.plain --port 8001` or `.lit` starts one. Both decode with Pillow and run the network of
models/trained with PyTorch, on one thread.
"""

import io

import numpy as np
import torch
from PIL import Image

from benchmarks.command import parser
from darkroom.models import checkpoints
from darkroom.models.normalisation import normalise


class Classifier:
    """The trained network, with decoding and preprocessing."""

    def __init__(self) -> None:
        self.network, self.description = checkpoints.load("models/trained")
        torch.set_num_threads(1)

    def answer(self, contents: bytes) -> dict[str, object]:
        """Label and probabilities of an image file."""
        height, width, channels = self.description.shape
        image = Image.open(io.BytesIO(contents)).convert("L" if channels == 1 else "RGB").resize((width, height))
        images = torch.from_numpy(np.array(image).reshape(1, height, width, channels))
        with torch.inference_mode():
            logits = self.network(normalise(images, self.description.mean, self.description.std))
        probabilities = logits.softmax(1)[0].tolist()
        return {"label": self.description.classes[int(np.argmax(probabilities))], "probabilities": probabilities}


def parse_port(name: str, description: str | None) -> int:
    """Read the option --port of `python -m benchmarks.peers.<name>`."""
    options = parser(f"peers.{name}", description)
    options.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    return options.parse_args().port
