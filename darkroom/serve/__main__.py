"""Serve a bundle over HTTP.

A page to try it is at /, except of tables; the API's documentation at /docs, metrics at /metrics.

  curl --data-binary @shoe.png -H 'content-type: image/png' http://127.0.0.1:8000/v1/predict

If the environment variable DARKROOM_API_KEY is set, clients must send its value as `Authorization: Bearer KEY` or
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
    from darkroom.serve import app, heap, listening, server
    from darkroom.serve.access_log import AccessLog
    from darkroom.serve.service import Service

    heap.return_large_blocks()
    with listening.bind(settings.host, settings.port) as listener:
        service = Service(settings)
        log = AccessLog(settings.log_format)
        running = server.Server(app.build(service, log), service)
        gc.set_threshold(
            50_000
        )  # the default runs the collector many times while a long JSON is parsed: 3 times slower
        gc.freeze()  # scanning all objects created so far would delay a response by 27 ms now and then
        print(_greeting(service.bundle, *listener.getsockname()[:2]), file=sys.stderr, flush=True)
        try:
            running.run([listener])
        finally:
            service.close()
            log.close()


def _greeting(bundle: "Bundle", host: str, port: int) -> str:
    manifest, address = bundle.manifest, f"[{host}]" if ":" in host else host
    classes = f"{len(manifest.classes):,} items" if manifest.kind == "history" else f"{len(manifest.classes)} classes"
    facts = f"{classes}, {manifest.model}, version {bundle.version}"
    return f"http://{address}:{port} serves {manifest.title} ({facts})"


def _parser() -> argparse.ArgumentParser:
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m darkroom.serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        default=default.bundle,
        metavar="FOLDER",
        help="folder of the bundle (default: %(default)s)",
    )
    parser.add_argument(
        "--int8",
        dest="variant",
        action="store_const",
        const="int8",
        default="fp32",
        help="run the int8 model, if the bundle has one",
    )
    for name, kind, meaning in (
        ("host", str, "address to listen on; needs an API key if other machines can reach it"),
        ("port", _number(int, 0, 65535), "port to listen on; 0: any free port"),
        ("threads", _number(int, 1, 1024), "worker threads; each processes one image at a time"),
        ("queue", _number(int, 1, 10**6), "maximum number of images in the service, waiting or in progress (else 429)"),
        (
            "timeout",
            _number(float, 0.01, 3600),
            "seconds for a request to arrive (else 408), and again for its response (else 504)",
        ),
        ("max-bytes", _number(int, 1, 2**31), "maximum size of a request (else 413)"),
        ("max-pixels", _number(int, 1, 10**9), "maximum size of an image, if less than the bundle's limit (else 422)"),
        (
            "max-files",
            _number(int, 1, 1024),
            "maximum number of files in a request (else 400), or of texts, rows or histories (else 413)",
        ),
        (
            "drain-delay",
            _number(float, 0, 3600),
            "seconds after SIGTERM in which the service reports `not ready` but still accepts requests",
        ),
    ):
        value = getattr(default, name.replace("-", "_"))
        parser.add_argument(
            f"--{name}",
            type=kind,
            default=value,
            metavar=name.split("-")[-1].upper(),
            help=f"{meaning} (default: {'that limit' if value is None else value})",
        )
    parser.add_argument(
        "--log-format",
        choices=("json", "text", "off"),
        default=default.log_format,
        help="format of the access log, one line per request on the standard output (default: json)",
    )
    parser.add_argument(
        "--allow-reload", action="store_true", help="enable POST /v1/reload and /v1/rollback, which replace the bundle"
    )
    parser.add_argument(
        "--allow-anonymous", action="store_true", help="allow a --host that other machines can reach without an API key"
    )
    return parser


def _number(kind: type, lowest: float, highest: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not lowest <= (value := kind(text)) <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not between {lowest} and {highest}")
        return value

    parse.__name__ = kind.__name__  # argparse shows it if the text is not a number
    return parse


if __name__ == "__main__":
    main()
