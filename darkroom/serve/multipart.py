"""Split a multipart/form-data body (RFC 7578) into its files, in memory."""

import re
from email.message import Message

from darkroom.serve.problems import Problem

_FILE = re.compile(rb"^content-disposition:[^\r\n]*;\s*filename\*?=", re.IGNORECASE | re.MULTILINE)


def files(content_type: str, body: bytes, limit: int) -> list[bytes]:
    """The contents of the files in `body`, in order. Field names, file names and part types are ignored.

    Raises Problem 400 if the body is malformed, has no parts or more than `limit`, or if a part is not a file.
    """
    delimiter = b"\r\n--" + _boundary(content_type)
    _, *parts = (b"\r\n" + body).split(delimiter, limit + 2)  # the last part is what follows the closing boundary
    if len(parts) > limit + 1:
        raise Problem(400, f"The request has more than {limit} files.")
    if len(parts) < 2 or not parts.pop().startswith(b"--"):
        raise Problem(400, "The multipart body has no files, or its closing boundary is missing.")
    return [_content(part) for part in parts]


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if not boundary or not boundary.isascii() or len(boundary) > 70:  # RFC 2046, 5.1.1
        raise Problem(400, "The content type multipart/form-data has no valid boundary.")
    return boundary.encode()


def _content(part: bytes) -> bytes:
    """The content of a part, which must be a file."""
    header, blank_line, content = part.partition(b"\r\n\r\n")
    if not blank_line or not _FILE.search(header):
        raise Problem(400, "A part of the multipart body is not a file: its Content-Disposition has no filename.")
    return content
