"""Compare the service with other servers for the same trained model: requests/s, latency, memory, startup time.

Needs the output of `dvc repro`. The servers take turns. A request is a test image as PNG on an open connection, or the
test text of median length; the plain handler of texts runs a Transformers pipeline. LitServe gets the image in base64
in JSON, since it does not accept a body of bytes; `--litserve` needs `pip install litserve`, which is not among the
project's requirements.
"""

import base64
import io
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from benchmarks.command import parser
from benchmarks.load import Answer, Server, load, milliseconds, post, serving
from benchmarks.runs import ARRAYS
from benchmarks.tables import markdown, median_range
from darkroom.core import arrays, processor


@dataclass(frozen=True)
class Kind:
    """A server to compare."""

    module: str
    ready: str  # the path that answers 200 once it is ready
    request: Callable[[bytes], bytes]  # from an image file to the bytes of a request

    def command(self, port: int) -> list[str]:
        """The command that starts it."""
        return [sys.executable, "-m", self.module, "--port", str(port)]


def base64_request(contents: bytes) -> bytes:
    """A request with the image file in JSON."""
    return post("/predict", json.dumps({"image": base64.b64encode(contents).decode()}).encode(), "application/json")


plain_text = partial(post, content_type="text/plain")
KINDS = {  # by kind of examples
    "image": {
        "darkroom": Kind("darkroom.serve", "/health/ready", partial(post, "/v1/predict")),
        "plain": Kind("benchmarks.peers.plain", "/health", partial(post, "/predict")),
        "litserve": Kind("benchmarks.peers.lit", "/health", base64_request),
    },
    "text": {
        "darkroom": Kind("darkroom.serve", "/health/ready", partial(plain_text, "/v1/predict")),
        "plain": Kind("benchmarks.peers.pipeline", "/health", partial(plain_text, "/predict")),
    },
}


def example_image() -> bytes:
    """The first test image as a PNG file."""
    image, contents = arrays.read_split(ARRAYS, "test").inputs[0], io.BytesIO()
    Image.fromarray(np.asarray(image).squeeze()).save(contents, "PNG")
    return contents.getvalue()


def example_text() -> bytes:
    """The first of the test texts of median length."""
    lengths = (arrays.read_split(ARRAYS, "test").inputs != 0).sum(1)
    chosen = np.argsort(lengths, kind="stable")[len(lengths) // 2]
    return arrays.read_texts(ARRAYS, "test")[chosen].encode()


def main() -> None:
    options = parser("serving", __doc__)
    options.add_argument("--turns", type=int, default=5, help="times that each server is started and measured")
    options.add_argument(
        "--seconds", type=float, default=5, help="of load per measurement, after one second of warm-up"
    )
    options.add_argument("--clients", type=int, nargs="+", default=[1, 16], help="concurrent requests")
    options.add_argument("--litserve", action="store_true", help="measure LitServe too")
    chosen = options.parse_args()
    examples = arrays.read_manifest(ARRAYS).kind
    kinds = {name: kind for name, kind in KINDS[examples].items() if name != "litserve" or chosen.litserve}
    contents = {"image": example_image, "text": example_text}[examples]()
    servers: dict[str, list[tuple[Server, float]]] = {name: [] for name in kinds}
    answers: dict[tuple[str, int], list[list[Answer]]] = {
        (name, clients): [] for name in kinds for clients in chosen.clients
    }
    failed = dict.fromkeys(answers, 0)
    for _ in range(chosen.turns):
        for name, kind in kinds.items():
            request = kind.request(contents)
            with serving(kind.command, kind.ready) as server:
                load(server.port, request, max(chosen.clients), 1)
                for clients in chosen.clients:
                    turn = load(server.port, request, clients, chosen.seconds)
                    answers[name, clients].append([answer for answer in turn if answer.code == 200])
                    failed[name, clients] += len(turn) - len(answers[name, clients][-1])
                servers[name].append((server, server.memory_mb()))

    print(
        f"{processor.describe()}, shared with the clients; medians (and ranges) of {chosen.turns} turns of "
        f"{chosen.seconds:g} s\n"
    )
    rows = []
    for (name, clients), turns in answers.items():
        counts, bases = ([len(turn) for turn in some] for some in (turns, answers["plain", clients]))
        rates = median_range([count / chosen.seconds for count in counts], 0)
        ratios = median_range([count / base for count, base in zip(counts, bases, strict=True)], 2)
        latencies = (median_range([milliseconds(turn, percent) for turn in turns], 2) for percent in (50, 99))
        rows.append((name, clients, rates, ratios, *latencies, failed[name, clients]))
    columns = ("server", "clients", "requests/s", "relative to the plain handler", "p50, ms", "p99, ms", "not 200")
    print(markdown(columns, rows))
    rows = []
    for name, measured in servers.items():
        startup = median_range([server.startup_seconds for server, _ in measured], 2)
        rows.append((name, startup, f"{statistics.median(memory for _, memory in measured):.0f}"))
    print("\n" + markdown(("server", "startup, s", "resident memory after the load, MB"), rows))


if __name__ == "__main__":
    main()
