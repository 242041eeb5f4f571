"""The trained network in LitServe, with one worker and its defaults.

Needs `pip install litserve`, which is not among the project's requirements.
"""

import base64

import litserve

from benchmarks.peers import Classifier, parse_port


class Api(litserve.LitAPI):
    """POST /predict with an image in base64 in JSON. At module level, since LitServe pickles it for its worker."""

    def setup(self, device: str) -> None:
        self.classifier = Classifier()

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["image"])

    def predict(self, contents: bytes) -> dict[str, object]:
        return self.classifier.answer(contents)

    def encode_response(self, output: dict[str, object]) -> dict[str, object]:
        return output


if __name__ == "__main__":
    port = parse_port("lit", __doc__)
    litserve.LitServer(Api(), accelerator="cpu").run(port=port, log_level="warning", generate_client_file=False)
