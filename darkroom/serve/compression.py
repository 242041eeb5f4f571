"""Compressed request bodies: gzip and deflate."""

import zlib

from darkroom.serve.problems import Problem

_ENCODINGS = ("gzip", "x-gzip", "deflate")


def check_encoding(encoding: str) -> bool:
    """Whether a body with this Content-Encoding is compressed; raises Problem 415 if it is not supported."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return False
    if name not in _ENCODINGS:
        message = f"The content encoding {encoding!r} is not supported: use gzip or deflate."
        raise Problem(415, message, {"accept-encoding": "gzip, deflate"})
    return True


def decompress(body: bytes, limit: int) -> bytes:
    """Decompress a body, gzip or deflate.

    Raises Problem 400 if it is not one complete stream, 413 if the result is longer than `limit` bytes.
    """
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)  # detects either header
    try:
        decompressed = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise Problem(400, f"The body is neither valid gzip nor valid deflate data ({error}).") from None
    if len(decompressed) > limit:
        raise Problem(413, f"The decompressed body has more than {limit:,} bytes.")
    if not decompressor.eof or decompressor.unused_data:
        raise Problem(400, "The body is not one complete gzip or deflate stream.")
    return decompressed
