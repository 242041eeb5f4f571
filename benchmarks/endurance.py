"""Does the service hold? Ten times the clients that it can serve, reloads of sound and of broken bundles, an end under load, many requests.

Needs what `dvc repro` leaves. A request is a test picture as a PNG. `overload`, `reloads`, `drain` and `soak` each print what was seen.
"""

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks.load import Answer, load, milliseconds, once, post, serving
from benchmarks.serving import picture
from darkroom.bundle import classifier
from darkroom.core import processor

BUNDLE, CLIENTS = Path("models/bundle"), 16
PREDICT, RELOAD = "/v1/predict", "/v1/reload"


def server(*arguments: str):
    """The service on a free port, as a context that gives its `benchmarks.load.Server`."""
    return serving(
        lambda port: [sys.executable, "-m", "darkroom.serve", "--port", str(port), *arguments], "/health/ready"
    )


def codes(answers: list[Answer]) -> str:
    """How many answers had which status code."""
    return ", ".join(f"{count} x {code}" for code, count in sorted(Counter(answer.code for answer in answers).items()))


def overload(seconds: float) -> None:
    """Capacity, then ten times the clients without a pause, then what one client sees in the seconds after."""
    request = post(PREDICT, picture())
    with server() as running:
        load(running.port, request, CLIENTS, 2)
        capacity = [answer for answer in load(running.port, request, CLIENTS, 10) if answer.code == 200]
        alone = load(running.port, request, 1, 5)
        many = load(running.port, request, 10 * CLIENTS, seconds)
        after = load(running.port, request, 1, 5)
    good, shed = ([answer for answer in many if (answer.code == 200) == wanted] for wanted in (True, False))
    print(f"{CLIENTS} clients: {len(capacity) / 10:.0f} requests/s; 1 client: p99 {milliseconds(alone, 99):.2f} ms")
    print(f"{10 * CLIENTS} clients for {seconds:g} s: {codes(many)}")
    print(
        f"answered: {len(good) / seconds:.0f} requests/s, {len(good) / seconds / (len(capacity) / 10):.0%} of the capacity, p99 {milliseconds(good, 99):.1f} ms"
    )
    if shed:
        print(f"shed: {len(shed) / seconds:.0f} a second, answered within {milliseconds(shed, 99):.1f} ms (p99)")
    ends = after[0].sent
    seen = ", ".join(
        f"{milliseconds([one for one in after if second <= one.sent - ends < second + 1], 99):.2f}"
        for second in range(5)
    )
    print(f"1 client, p99 in each of the 5 seconds after: {seen} ms")


def reloads(count: int) -> None:
    """Reloads under load of one bundle and another in turn, which differ in their manifest; each fifth has a byte changed."""
    request, answered = post(PREDICT, picture()), []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(BUNDLE, Path(folder, "bundle")))
        sound = (copy / classifier.VARIANTS["fp32"]).read_bytes()
        broken, manifest = (
            bytes([sound[0], sound[1] ^ 1]) + sound[2:],
            json.loads((copy / classifier.MANIFEST).read_bytes()),
        )
        with server("--bundle", str(copy), "--allow-reload") as running:
            stop = threading.Event()

            def press() -> None:
                while not stop.is_set():
                    answered.extend(load(running.port, request, CLIENTS // 2, 1))

            pressing = threading.Thread(target=press)
            pressing.start()
            answers = {200: 0, 422: 0}
            for number in range(1, count + 1):
                (copy / classifier.MANIFEST).write_text(
                    json.dumps({**manifest, "title": f"{manifest['title']} {number % 2}"}), encoding="utf-8"
                )
                (copy / classifier.VARIANTS["fp32"]).write_bytes(sound if number % 5 else broken)
                code = once(running.port, post(RELOAD, b"", "application/json"))
                answers[code] = answers.get(code, 0) + 1
            stop.set()
            pressing.join()
    print(f"{count} reloads, each fifth of a broken bundle: {answers}; meanwhile {codes(answered)}")


def drain(times: int) -> None:
    """SIGTERM in the middle of load: which requests that were under way are not answered, and how long the end takes."""
    request = post(PREDICT, picture())
    for _ in range(times):
        with server() as running:
            answers: list[Answer] = []
            pressing = threading.Thread(
                target=lambda into=answers, port=running.port: into.extend(load(port, request, CLIENTS, 3))
            )
            pressing.start()
            time.sleep(1.5)
            told = time.perf_counter()
            running.process.terminate()
            running.process.wait(30)
            seconds = time.perf_counter() - told
            pressing.join()
        print(f"ended after {seconds:.2f} s; sent before: {codes([one for one in answers if one.sent < told])}")


def soak(requests: int) -> None:
    """Memory over many requests."""
    request, done = post(PREDICT, picture()), 0
    with server() as running:
        load(running.port, request, CLIENTS, 2)
        first = most = running.memory_mb()
        while done < requests:
            answers = load(running.port, request, CLIENTS, 20)
            done += len(answers)
            most = max(most, running.memory_mb())
            print(f"{done} requests ({codes(answers)}): {running.memory_mb():.1f} MB", flush=True)
    print(f"memory after the warm-up {first:.1f} MB, at most {most:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.endurance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function, what, default in (
        ("overload", overload, "seconds", 60),
        ("reloads", reloads, "count", 100),
        ("drain", drain, "times", 3),
        ("soak", soak, "requests", 1_000_000),
    ):
        command = commands.add_parser(name, help=function.__doc__)
        command.add_argument(f"--{what}", type=int, default=default, dest="amount", help=f"(default: {default})")
        command.set_defaults(function=function)
    chosen = parser.parse_args()
    print(processor.describe())
    chosen.function(chosen.amount)


if __name__ == "__main__":
    main()
