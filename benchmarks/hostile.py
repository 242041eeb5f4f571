"""What the service does with files that are no pictures, or are bad ones: status codes, seconds, memory.

Needs what `dvc repro` leaves. Sound files of many formats, each also cut short, with bytes changed, and with another file behind it; then
pictures of a few kilobytes that would take gigabytes. A status code of 5xx or a growth of more than 50 MB ends it with code 1.
"""

import argparse
import io
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import numpy as np
from PIL import Image

from benchmarks.load import serving
from darkroom.core import processor

SIZE = (60, 40)
BOMB = 7_000  # pixels of a side: more than the service decodes
MODES = {
    "PNG": ("L", "RGB", "RGBA"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P"),
    "BMP": ("L", "RGB"),
}


def written(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def sound() -> list[bytes]:
    """Picture files of noise that a reader may stumble over, and that are as they should be."""
    values = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    noise, turned = Image.fromarray(values), Image.Exif()
    turned[274] = 6  # the tag of the orientation
    files = [written(noise.convert(mode), kind) for kind, modes in MODES.items() for mode in modes]
    files.append(written(Image.fromarray(values[..., 0].astype(np.uint16) * 257), "PNG"))
    files.append(
        written(noise, "GIF", save_all=True, append_images=[noise.transpose(Image.Transpose.FLIP_TOP_BOTTOM)] * 5)
    )
    files.append(written(noise, "JPEG", exif=turned))
    return files


def damaged(files: list[bytes], each: int) -> Iterator[bytes]:
    """Of each file as many that are cut short, that have bytes changed, and that go on as another file."""
    chance = random.Random(0)
    for file in files:
        for _ in range(each):
            yield file[: chance.randrange(len(file))]
            changed = bytearray(file)
            for _ in range(chance.randrange(1, 20)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            yield bytes(changed)
            yield file + b"<script>" + chance.choice(files)


def bombs() -> Iterator[bytes]:
    """Small files of large pictures, and files that are none."""
    yield from (b"", bytes(100), b"GIF89a", b"\xff\xd8\xff", b"BM" + bytes(100), b"%PDF-1.4", b"PK\3\4")
    for kind, mode in (("PNG", "1"), ("PNG", "RGB"), ("JPEG", "CMYK"), ("GIF", "P"), ("WEBP", "RGB")):
        yield written(Image.new(mode, (BOMB, BOMB)), kind)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hostile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--each", type=int, default=10, help="damaged files of each kind that are made of a sound one (default: 10)"
    )
    chosen = parser.parse_args()
    files = sound()
    files += [*damaged(files, chosen.each), *bombs()]

    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "darkroom.serve", "--port", str(port), "--log-format", "off"]

    with (
        serving(command, "/health/ready") as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client,
    ):

        def post(file: bytes) -> tuple[int, float]:
            started = time.perf_counter()
            return client.post(
                "/v1/predict", content=file, headers={"content-type": "image/png"}
            ).status_code, time.perf_counter() - started

        for _ in range(200):
            post(files[0])
        before, seen, done = server.memory_mb(), [], threading.Event()

        def watch() -> None:
            while not done.wait(0.005):
                seen.append(server.memory_mb())

        watching = threading.Thread(target=watch)
        watching.start()
        answers = [post(file) for file in files]
        done.set()
        watching.join()
        after = server.memory_mb()

    codes = Counter(code for code, _ in answers)
    print(
        f"{processor.describe()}\n{len(files)} files: {', '.join(f'{count} x {code}' for code, count in sorted(codes.items()))}"
    )
    print(
        f"slowest answer {1000 * max(seconds for _, seconds in answers):.1f} ms; memory before {before:.1f} MB, at most {max(seen):.1f}, after {after:.1f}"
    )
    sys.exit(int(max(codes) >= 500 or max(seen) > before + 50))


if __name__ == "__main__":
    main()
