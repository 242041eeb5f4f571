"""Serves a bundle over HTTP: a page to try it at /, the API's description at /docs, measurements at /metrics.

  curl --data-binary @shoe.png -H 'content-type: image/png' localhost:8000/v1/predict

Clients must send the API key that the environment variable DARKROOM_API_KEY holds, if any, as `Authorization: Bearer KEY` or
`X-API-Key: KEY`.
"""

import argparse
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.core.errors import DarkroomError
from darkroom.serve.settings import KEY_VARIABLE, Settings, check

if TYPE_CHECKING:
    from darkroom.bundle.classifier import Bundle


def main() -> None:
    settings = Settings(**vars(_parser().parse_args()), api_key=os.environ.get(KEY_VARIABLE))
    try:
        check(settings)
        _serve(settings)
    except DarkroomError as error:
        sys.exit(f"serve: {error}")


def _serve(settings: Settings) -> None:
    from darkroom.serve import app, heap, server
    from darkroom.serve.access_log import AccessLog
    from darkroom.serve.service import Service

    heap.return_large_blocks()
    with server.bind(settings.host, settings.port) as door:
        service = Service(settings)
        log = AccessLog(settings.log_format)
        running = server.Server(app.build(service, log), service)
        gc.set_threshold(
            50_000
        )  # else it would look again and again through the many lists of a long JSON while they are made: 3 times slower
        gc.freeze()  # else to look for garbage among all that was made so far would hold up an answer for 27 ms now and then
        print(_greeting(service.bundle, *door.getsockname()[:2]), file=sys.stderr, flush=True)
        try:
            running.run([door])
        finally:
            service.close()
            log.close()


def _greeting(bundle: "Bundle", host: str, port: int) -> str:
    manifest, address = bundle.manifest, f"[{host}]" if ":" in host else host
    return f"http://{address}:{port} serves {manifest.title}: {len(manifest.classes)} classes, {manifest.model}, version {bundle.version}"


def _parser() -> argparse.ArgumentParser:
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m darkroom.serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "bundle", nargs="?", type=Path, default=default.bundle, help=f"the bundle's folder (default: {default.bundle})"
    )
    parser.add_argument(
        "--int8",
        dest="variant",
        action="store_const",
        const="int8",
        default="fp32",
        help="run the 8-bit model, if it passed its gates",
    )
    for name, kind, meaning in (
        ("host", str, "the address to listen at; one that others can reach needs a key"),
        ("port", _number(int, 0, 65535), "0: any that is free"),
        ("threads", _number(int, 1, 1024), "how many pictures are worked on at the same time"),
        (
            "queue",
            _number(int, 1, 10**6),
            "how many pictures are taken on at the same time, with those that wait; more get 429",
        ),
        (
            "timeout",
            _number(float, 0.01, 3600),
            "seconds for a request to arrive (else 408), and again for its answer (else 504)",
        ),
        ("max-bytes", _number(int, 1, 2**31), "size of a request (else 413)"),
        ("max-pixels", _number(int, 1, 10**9), "size of a picture, if the bundle allows as much (else 422)"),
        ("max-files", _number(int, 1, 1024), "files of a request (else 400)"),
        (
            "drain-delay",
            _number(float, 0, 3600),
            "seconds at SIGTERM during which probes say `not ready` and requests are still taken",
        ),
    ):
        value = getattr(default, name.replace("-", "_"))
        parser.add_argument(
            f"--{name}",
            type=kind,
            default=value,
            metavar=name.split("-")[-1].upper(),
            help=f"{meaning} (default: {value})",
        )
    parser.add_argument(
        "--log-format",
        choices=("json", "text", "off"),
        default=default.log_format,
        help="of a line for each request (default: json)",
    )
    parser.add_argument(
        "--allow-reload", action="store_true", help="let clients exchange the bundle: POST /v1/reload and /v1/rollback"
    )
    parser.add_argument(
        "--allow-anonymous", action="store_true", help="listen at an address that others can reach without a key"
    )
    return parser


def _number(kind: type, least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not least <= (value := kind(text)) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
        return value

    parse.__name__ = kind.__name__  # which argparse names where the text is no number
    return parse


if __name__ == "__main__":
    main()
