"""The files in a multipart/form-data body (RFC 7578), split where they lie, in memory."""

import re
from email.message import Message

from darkroom.serve.problems import Problem

_FILE = re.compile(rb"^content-disposition:[^\r\n]*;\s*filename\*?=", re.IGNORECASE | re.MULTILINE)


def files(content_type: str, body: bytes, most: int) -> list[bytes]:
    """The contents of the parts of `body`, each a file, in their order; their names and types are not looked at.

    Raises Problem 400 where the body is malformed, without parts, or with more than `most`.
    """
    delimiter = b"\r\n--" + _boundary(content_type)
    _, *parts = (b"\r\n" + body).split(delimiter, most + 2)  # the last of them is what follows the closing boundary
    if len(parts) > most + 1:
        raise Problem(400, f"The request holds more than {most} files.")
    if len(parts) < 2 or not parts.pop().startswith(b"--"):
        raise Problem(400, "The multipart body holds no files, or ends before its last boundary.")
    return [_content(part) for part in parts]


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if not boundary or not boundary.isascii() or len(boundary) > 70:  # RFC 2046, 5.1.1
        raise Problem(400, "The content type multipart/form-data lacks its boundary.")
    return boundary.encode()


def _content(part: bytes) -> bytes:
    """What follows the header of a part, which has to be a file."""
    header, blank_line, content = part.partition(b"\r\n\r\n")
    if not blank_line or not _FILE.search(header):
        raise Problem(400, "A part of the multipart body is no file: its header Content-Disposition has no filename.")
    return content
