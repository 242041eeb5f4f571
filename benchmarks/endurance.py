"""Test the service under stress: overload, reloads under load, shutdown under load, many requests.

Needs the output of `dvc repro`. A request is a test image as PNG. Each command prints what it measured.
"""

import json
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.command import parser
from benchmarks.load import Answer, Server, load, milliseconds, once, post, serving
from benchmarks.serving import example_image
from darkroom.bundle import classifier
from darkroom.core import processor

BUNDLE, CLIENTS = Path("models/bundle"), 16
PREDICT, RELOAD = "/v1/predict", "/v1/reload"


def server(*arguments: str) -> AbstractContextManager[Server]:
    """The service on a free port, with these options."""
    command = [sys.executable, "-m", "darkroom.serve", *arguments, "--port"]
    return serving(lambda port: [*command, str(port)], "/health/ready")


def codes(answers: Sequence[Answer]) -> str:
    """How many answers have which status code."""
    return ", ".join(f"{count} x {code}" for code, count in sorted(Counter(answer.code for answer in answers).items()))


def overload(seconds: float) -> None:
    """Measure the capacity, then ten times the clients without a pause, then what one client sees afterwards."""
    request = post(PREDICT, example_image())
    with server() as running:
        load(running.port, request, CLIENTS, 2)
        capacity = [answer for answer in load(running.port, request, CLIENTS, 10) if answer.code == 200]
        alone = load(running.port, request, 1, 5)
        many = load(running.port, request, 10 * CLIENTS, seconds)
        after = load(running.port, request, 1, 5)
    good, rejected = ([answer for answer in many if (answer.code == 200) == wanted] for wanted in (True, False))
    print(f"{CLIENTS} clients: {len(capacity) / 10:.0f} requests/s; 1 client: p99 {milliseconds(alone, 99):.2f} ms")
    print(f"{10 * CLIENTS} clients for {seconds:g} s: {codes(many)}")
    rate = len(good) / seconds
    fraction = rate / (len(capacity) / 10)
    print(f"answered: {rate:.0f} requests/s, {fraction:.0%} of the capacity, p99 {milliseconds(good, 99):.1f} ms")
    if rejected:
        print(f"rejected: {len(rejected) / seconds:.0f} requests/s, p99 {milliseconds(rejected, 99):.1f} ms")
    start = after[0].sent
    by_second = ([one for one in after if second <= one.sent - start < second + 1] for second in range(5))
    seen = ", ".join(f"{milliseconds(answers, 99):.2f}" for answers in by_second)
    print(f"1 client, p99 in each of the 5 seconds afterwards: {seen} ms")


def reloads(count: int) -> None:
    """Reload two bundles in turn under load; they differ in their manifest, and every fifth is broken."""
    request, answered = post(PREDICT, example_image()), []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(BUNDLE, Path(folder, "bundle")))
        model = (copy / classifier.VARIANTS["fp32"]).read_bytes()
        broken = bytes([model[0], model[1] ^ 1]) + model[2:]
        manifest = json.loads((copy / classifier.MANIFEST).read_bytes())
        with server("--bundle", str(copy), "--allow-reload") as running:
            stop = threading.Event()

            def send() -> None:
                while not stop.is_set():
                    answered.extend(load(running.port, request, CLIENTS // 2, 1))

            sending = threading.Thread(target=send)
            sending.start()
            answers: Counter[int] = Counter()
            for number in range(1, count + 1):
                changed = {**manifest, "title": f"{manifest['title']} {number % 2}"}
                (copy / classifier.MANIFEST).write_text(json.dumps(changed), encoding="utf-8")
                (copy / classifier.VARIANTS["fp32"]).write_bytes(model if number % 5 else broken)
                answers[once(running.port, post(RELOAD, b"", "application/json"))] += 1
            stop.set()
            sending.join()
    print(f"{count} reloads, every fifth of a broken bundle: {dict(answers)}; meanwhile {codes(answered)}")


def drain(times: int) -> None:
    """Send SIGTERM under load; print the answers to requests sent before, and the seconds until the process ends."""
    request = post(PREDICT, example_image())
    for _ in range(times):
        with server() as running:
            answers: list[Answer] = []
            sending = threading.Thread(
                target=lambda into=answers, port=running.port: into.extend(load(port, request, CLIENTS, 3))
            )
            sending.start()
            time.sleep(1.5)
            signalled = time.perf_counter()
            running.process.terminate()
            running.process.wait(30)
            seconds = time.perf_counter() - signalled
            sending.join()
        print(f"ended after {seconds:.2f} s; sent before: {codes([one for one in answers if one.sent < signalled])}")


def soak(requests: int) -> None:
    """Measure the memory over many requests."""
    request, done = post(PREDICT, example_image()), 0
    with server() as running:
        load(running.port, request, CLIENTS, 2)
        first = most = running.memory_mb()
        while done < requests:
            answers = load(running.port, request, CLIENTS, 20)
            done += len(answers)
            most = max(most, running.memory_mb())
            print(f"{done} requests ({codes(answers)}): {running.memory_mb():.1f} MB", flush=True)
    print(f"memory after the warm-up {first:.1f} MB, peak {most:.1f} MB")


def main() -> None:
    options = parser("endurance", __doc__)
    commands = options.add_subparsers(dest="command", required=True)
    for function, option, default in (
        (overload, "seconds", 60),
        (reloads, "count", 100),
        (drain, "times", 3),
        (soak, "requests", 1_000_000),
    ):
        command = commands.add_parser(function.__name__, help=function.__doc__)
        command.add_argument(f"--{option}", type=int, default=default, dest="amount", help=f"(default: {default})")
        command.set_defaults(function=function)
    chosen = options.parse_args()
    print(processor.describe())
    chosen.function(chosen.amount)


if __name__ == "__main__":
    main()
