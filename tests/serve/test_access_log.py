"""Tests of the access log."""

import io
import json
import os
import threading

from darkroom.serve.access_log import CURRENT, AccessLog, Work, note


def lines(form: str) -> list[str]:
    stream = io.StringIO()
    log = AccessLog(form, stream)
    log.add("POST", "/v1/predict", 200, 0.0012345, Work(2, "0123456789ab"))
    log.add("GET", "-", 404, 0.0001, Work())
    log.close()
    return stream.getvalue().splitlines()


def test_json():
    first, second = map(json.loads, lines("json"))
    assert first.pop("time").endswith("+00:00") and second.pop("time")
    assert first == {
        "method": "POST",
        "route": "/v1/predict",
        "code": 200,
        "ms": 1.23,
        "images": 2,
        "model": "0123456789ab",
    }
    assert second == {"method": "GET", "route": "-", "code": 404, "ms": 0.1, "images": 0, "model": None}


def test_text():
    first, second = (line.split(" ", 1)[1] for line in lines("text"))
    assert first == "POST /v1/predict 200 1.23 ms, images: 2, model: 0123456789ab"
    assert second == "GET - 404 0.1 ms, images: 0, model: -"


def test_off():
    assert lines("off") == []


def test_a_blocked_reader_delays_nobody():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader:
        stream = os.fdopen(writing, "w")
        log = AccessLog("json", stream)
        for _ in range(10_000):  # a megabyte, far more than a pipe holds
            log.add("POST", "/v1/predict", 200, 0.001, Work())
        log.close()
        emptying = threading.Thread(target=reader.read)  # lets the writer thread end
        emptying.start()
        log._thread.join()
        stream.close()
        emptying.join()


def test_a_closed_reader_ends_only_the_log():
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    log = AccessLog("json", Broken())
    log.add("POST", "/v1/predict", 200, 0.001, Work())
    log.close()
    assert not log._thread.is_alive()


def test_images_are_counted_for_the_current_request():
    note(1, "no request")
    token = CURRENT.set(work := Work())
    note(2, "a")
    note(3, "b")
    CURRENT.reset(token)
    assert work == Work(5, "b")
