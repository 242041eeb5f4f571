"""Test the service with broken and hostile files: status codes, response times, memory.

Needs the output of `dvc repro`. It sends valid files of many formats; each also truncated, with changed bytes, and with
another file appended; then files of a few kilobytes that would decode to gigabytes.

exit codes:
  0  the service withstood them
  1  a status code was 5xx, or the memory grew by more than 50 MB
"""

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

from benchmarks.command import parser
from benchmarks.load import serving
from darkroom.core import processor

SIZE = (60, 40)
BOMB_SIDE = 7_000  # pixels per side: more than the service decodes
MODES = {
    "PNG": ("L", "RGB", "RGBA"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P"),
    "BMP": ("L", "RGB"),
}
MAX_GROWTH_MB = 50


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The contents of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def valid() -> list[bytes]:
    """Valid image files of noise, in many formats."""
    values = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    noise, rotated = Image.fromarray(values), Image.Exif()
    rotated[274] = 6  # the tag of the orientation
    files = [encoded(noise.convert(mode), kind) for kind, modes in MODES.items() for mode in modes]
    files.append(encoded(Image.fromarray(values[..., 0].astype(np.uint16) * 257), "PNG"))
    frames = [noise.transpose(Image.Transpose.FLIP_TOP_BOTTOM)] * 5
    files.append(encoded(noise, "GIF", save_all=True, append_images=frames))
    files.append(encoded(noise, "JPEG", exif=rotated))
    return files


def damaged(files: list[bytes], each: int) -> Iterator[bytes]:
    """From each file, `each` that are truncated, that have changed bytes, and that continue as another file."""
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
    """Small files of huge images, and files that are not images."""
    yield from (b"", bytes(100), b"GIF89a", b"\xff\xd8\xff", b"BM" + bytes(100), b"%PDF-1.4", b"PK\3\4")
    for kind, mode in (("PNG", "1"), ("PNG", "RGB"), ("JPEG", "CMYK"), ("GIF", "P"), ("WEBP", "RGB")):
        yield encoded(Image.new(mode, (BOMB_SIDE, BOMB_SIDE)), kind)


def main() -> None:
    options = parser("hostile", __doc__)
    options.add_argument("--each", type=int, default=10, help="damaged files of each kind per valid file")
    chosen = options.parse_args()
    files = valid()
    files += [*damaged(files, chosen.each), *bombs()]

    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "darkroom.serve", "--port", str(port), "--log-format", "off"]

    with (
        serving(command, "/health/ready") as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client,
    ):

        def post(file: bytes) -> tuple[int, float]:
            started = time.perf_counter()
            response = client.post("/v1/predict", content=file, headers={"content-type": "image/png"})
            return response.status_code, time.perf_counter() - started

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
    listed = ", ".join(f"{count} x {code}" for code, count in sorted(codes.items()))
    print(f"{processor.describe()}\n{len(files)} files: {listed}")
    slowest = 1000 * max(seconds for _, seconds in answers)
    print(f"slowest {slowest:.1f} ms; memory before {before:.1f} MB, peak {max(seen):.1f} MB, after {after:.1f} MB")
    sys.exit(int(max(codes) >= 500 or max(seen) > before + MAX_GROWTH_MB))


if __name__ == "__main__":
    main()
