"""Split a multipart/form-data body (RFC 7578) into its files, in memory."""

import re
from email.message import Message

from darkroom.serve.problems import Problem

_FILE = re.compile(rb"^content-disposition:[^\r\n]*;\s*filename\*?=([^\r\n;]*)", re.IGNORECASE | re.MULTILINE)
_MAX_FIELDS = 100  # parts that are not files


def files(content_type: str, body: bytes, limit: int) -> list[bytes]:
    """The contents of the files in `body`, in order. Other fields, field names, file names and types are ignored.

    Raises Problem 400 if the body is malformed, has no files or more than `limit`, or too many other fields.
    """
    delimiter, most = b"\r\n--" + _boundary(content_type), limit + _MAX_FIELDS
    _, *parts = (b"\r\n" + body).split(delimiter, most + 2)  # the last part is what follows the closing boundary
    if len(parts) > most + 1:
        raise Problem(400, f"The request has more than {most} parts.")
    if len(parts) < 2 or not parts.pop().startswith(b"--"):
        raise Problem(400, "The form has no files, or its closing boundary is missing.")
    contents = [content for part in parts if (content := _content(part)) is not None]
    if len(contents) > limit:
        raise Problem(400, f"The request has more than {limit} files.")
    if not contents:
        raise Problem(400, "The form has no files: no Content-Disposition has a filename.")
    return contents


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if not boundary or not boundary.isascii() or len(boundary) > 70:  # RFC 2046, 5.1.1
        raise Problem(400, "The content type multipart/form-data has no valid boundary.")
    return boundary.encode()


def _content(part: bytes) -> bytes | None:
    """The content of a part; None if it is not a file, or a file field of a browser in which no file was chosen."""
    header, blank_line, content = part.partition(b"\r\n\r\n")
    if not blank_line:
        raise Problem(400, "A part of the form has no header.")
    found = _FILE.search(header)
    return content if found and (content or found[1].strip() not in (b"", b'""')) else None
