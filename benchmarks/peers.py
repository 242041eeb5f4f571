"""What others put around a trained model, for benchmarks.serving to compare with: `python -m benchmarks.peers {plain,litserve} PORT`.

Both decode with Pillow and run the network of models/trained with PyTorch. `plain` is the handler that tutorials teach;
`litserve` needs the package of that name, which is no dependency of the project.
"""

import argparse
import io

import numpy as np
import torch
from PIL import Image

from darkroom import checkpoints
from darkroom.transforms import normalise


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
            probabilities = self.network(normalise(images, self.description.mean, self.description.std)).softmax(1)[0].tolist()
        return {"label": self.description.classes[int(np.argmax(probabilities))], "probabilities": probabilities}


def plain(port: int) -> None:
    """FastAPI around the network."""
    import uvicorn
    from fastapi import FastAPI, Request

    app, classifier = FastAPI(), Classifier()

    @app.get("/health")
    def health() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, object]:
        return classifier.answer(await request.body())

    uvicorn.run(app, port=port, log_level="warning")


def litserve(port: int) -> None:
    """LitServe around the network, on one worker as it comes."""
    import litserve
    from fastapi import Request

    class Api(litserve.LitAPI):
        def setup(self, device: str) -> None:
            self.classifier = Classifier()

        async def decode_request(self, request: Request) -> bytes:
            return await request.body()

        def predict(self, contents: bytes) -> dict[str, object]:
            return self.classifier.answer(contents)

        def encode_response(self, output: dict[str, object]) -> dict[str, object]:
            return output

    litserve.LitServer(Api(), accelerator="cpu").run(port=port, log_level="warning", generate_client_file=False)


def main() -> None:
    kinds = {"plain": plain, "litserve": litserve}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=kinds, help="which")
    parser.add_argument("port", type=int, help="on 127.0.0.1")
    chosen = parser.parse_args()
    kinds[chosen.name](chosen.port)


if __name__ == "__main__":
    main()
