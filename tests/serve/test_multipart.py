"""Tests of splitting multipart bodies."""

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.serve.multipart import files
from darkroom.serve.problems import Problem

TYPE = "multipart/form-data; boundary=frontier"
FILE = b"--frontier\r\nContent-Disposition: form-data; name=a; filename=a.png\r\n\r\n"


@settings(deadline=None)
@given(st.lists(st.binary(), min_size=1, max_size=5))
def test_files_sent_by_a_client(contents: list[bytes]):
    request = httpx.Request(
        "POST", "http://service", files=[("files", (f"{number}.png", one)) for number, one in enumerate(contents)]
    )
    assert files(request.headers["content-type"], request.read(), 5) == contents


def test_preamble_and_epilogue_are_ignored():
    body = b"preamble\r\n" + FILE + b"first\r\n" + FILE + b"second\r\n--frontier--\r\nepilogue"
    assert files(TYPE, body, 2) == [b"first", b"second"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", FILE + b"first\r\n--frontier--"),
        (TYPE, b""),
        (TYPE, b"--frontier--\r\n"),
        (TYPE, FILE + b"first"),
        (TYPE, FILE + b"first\r\n--frontier"),
        (TYPE, b"--frontier\r\nno header\r\n--frontier--"),
        (TYPE, b"--frontier\r\nContent-Disposition: form-data; name=a\r\n\r\nfilename=a.png\r\n--frontier--"),
    ],
)
def test_a_malformed_body(content_type: str, body: bytes):
    with pytest.raises(Problem) as raised:
        files(content_type, body, 2)
    assert raised.value.status == 400


FIELD = b"--frontier\r\nContent-Disposition: form-data; name=comment\r\n\r\nfilename=x\r\n"
NO_FILE = b'--frontier\r\nContent-Disposition: form-data; name=b; filename=""\r\n\r\n\r\n'  # browsers send it


def test_other_fields_are_ignored():
    body = FIELD + FILE + b"first\r\n" + FIELD * 3 + NO_FILE + FILE + b"second\r\n" + FIELD + b"--frontier--"
    assert files(TYPE, body, 2) == [b"first", b"second"]
    with pytest.raises(Problem, match="no files"):
        files(TYPE, FIELD + NO_FILE + b"--frontier--", 2)
    with pytest.raises(Problem, match="parts") as raised:
        files(TYPE, FILE + b"first\r\n" + FIELD * 10_000 + b"--frontier--", 2)
    assert raised.value.status == 400


def test_too_many_files():
    body = (FILE + b"\r\n") * 3 + b"--frontier--"
    assert files(TYPE, body, 3) == [b"", b"", b""]
    with pytest.raises(Problem, match="2 files") as raised:
        files(TYPE, body, 2)
    assert raised.value.status == 400


@settings(deadline=None)
@given(st.text(), st.binary())
def test_any_body_raises_a_problem_at_most(content_type: str, body: bytes):
    try:
        files(content_type, body, 2)
    except Problem as problem:
        assert problem.status == 400
