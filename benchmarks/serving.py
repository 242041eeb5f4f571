"""The service and what others put around the same trained model, side by side: requests a second, latency, memory, seconds to start.

Needs what `dvc repro` leaves. The servers take turns; a request is a test picture as a PNG (LitServe's is JSON with it in base64, as it takes no
body of bytes), on connections that stay open.
`--litserve` needs `pip install litserve`, which is no dependency of the project.
"""

import argparse
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

from benchmarks.load import Answer, Server, load, milliseconds, post, serving
from benchmarks.runs import ARRAYS, middle
from darkroom.core import arrays, processor


@dataclass(frozen=True)
class Kind:
    """A way to serve: its module, the path that tells it is ready, and the request for a picture file."""

    module: str
    ready: str
    request: Callable[[bytes], bytes]

    def command(self, port: int) -> list[str]:
        """What starts it."""
        return [sys.executable, "-m", self.module, "--port", str(port)]


def in_base64(contents: bytes) -> bytes:
    """A request of JSON."""
    return post("/predict", json.dumps({"picture": base64.b64encode(contents).decode()}).encode(), "application/json")


KINDS = {
    "darkroom": Kind("darkroom.serve", "/health/ready", partial(post, "/v1/predict")),
    "plain": Kind("benchmarks.peers.plain", "/health", partial(post, "/predict")),
    "litserve": Kind("benchmarks.peers.lit", "/health", in_base64),
}


def picture() -> bytes:
    """The first test picture as a PNG file."""
    image, contents = arrays.read_split(ARRAYS, "test").images[0], io.BytesIO()
    Image.fromarray(np.asarray(image).squeeze()).save(contents, "PNG")
    return contents.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--turns", type=int, default=5, help="times that each server is started and measured (default: 5)"
    )
    parser.add_argument(
        "--seconds", type=float, default=5, help="of load for each figure, after a second to warm up (default: 5)"
    )
    parser.add_argument(
        "--clients", type=int, nargs="+", default=[1, 16], help="requests under way at a time (default: 1 16)"
    )
    parser.add_argument("--litserve", action="store_true", help="measure LitServe too")
    chosen = parser.parse_args()
    kinds = {name: kind for name, kind in KINDS.items() if name != "litserve" or chosen.litserve}
    contents = picture()
    servers: dict[str, list[tuple[Server, float]]] = {name: [] for name in kinds}
    answers: dict[tuple[str, int], list[list[Answer]]] = {
        (name, clients): [] for name in kinds for clients in chosen.clients
    }
    refused = dict.fromkeys(answers, 0)
    for _ in range(chosen.turns):
        for name, kind in kinds.items():
            request = kind.request(contents)
            with serving(kind.command, kind.ready) as server:
                load(server.port, request, max(chosen.clients), 1)
                for clients in chosen.clients:
                    turn = load(server.port, request, clients, chosen.seconds)
                    answers[name, clients].append([answer for answer in turn if answer.code == 200])
                    refused[name, clients] += len(turn) - len(answers[name, clients][-1])
                servers[name].append((server, server.memory_mb()))

    print(
        f"{processor.describe()}, the load's clients on the same cores; medians (and ranges) of {chosen.turns} turns of {chosen.seconds:g} s\n"
    )
    print(
        "| server | clients | requests/s | times the plain handler's | p50, ms | p99, ms | not 200 |\n|---|---|---|---|---|---|---|"
    )
    for (name, clients), turns in answers.items():
        rates = [len(turn) / chosen.seconds for turn in turns]
        ratios = [
            rate * chosen.seconds / len(base) for rate, base in zip(rates, answers["plain", clients], strict=True)
        ]
        percentiles = (middle([milliseconds(turn, percent) for turn in turns], 2) for percent in (50, 99))
        print(
            f"| {name} | {clients} | {middle(rates, 0)} | {middle(ratios, 2)} | {' | '.join(percentiles)} | {refused[name, clients]} |"
        )
    print("\n| server | s until ready | resident memory after the load, MB |\n|---|---|---|")
    for name, runs in servers.items():
        print(
            f"| {name} | {middle([server.starting for server, _ in runs], 2)} | {statistics.median(memory for _, memory in runs):.0f} |"
        )


if __name__ == "__main__":
    main()
