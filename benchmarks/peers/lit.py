"""LitServe around the trained network, with one worker, as it comes. Needs `pip install litserve`, which is no dependency of the project."""

import base64

import litserve

from benchmarks.peers import Classifier, port


class Api(litserve.LitAPI):
    """Answers POST /predict with a picture in base64 in JSON. Of the module, since LitServe hands it to its worker's process."""

    def setup(self, device: str) -> None:
        self.classifier = Classifier()

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["picture"])

    def predict(self, contents: bytes) -> dict[str, object]:
        return self.classifier.answer(contents)

    def encode_response(self, output: dict[str, object]) -> dict[str, object]:
        return output


if __name__ == "__main__":
    number = port("benchmarks.peers.lit", __doc__)
    litserve.LitServer(Api(), accelerator="cpu").run(port=number, log_level="warning", generate_client_file=False)
