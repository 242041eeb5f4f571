"""The access log: its lines, and that nobody waits for it."""

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
        "pictures": 2,
        "model": "0123456789ab",
    }
    assert second == {"method": "GET", "route": "-", "code": 404, "ms": 0.1, "pictures": 0, "model": None}


def test_text():
    first, second = (line.split(" ", 1)[1] for line in lines("text"))
    assert first == "POST /v1/predict 200 1.23 ms, 2 pictures, model 0123456789ab"
    assert second == "GET - 404 0.1 ms, 0 pictures, model -"


def test_off():
    assert lines("off") == []


def test_a_reader_that_hangs_holds_up_nobody():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader:
        stream = os.fdopen(writing, "w")
        log = AccessLog("json", stream)
        for _ in range(10_000):  # a megabyte, far more than a pipe holds
            log.add("POST", "/v1/predict", 200, 0.001, Work())
        log.close()
        emptying = threading.Thread(target=reader.read)  # lets the writing thread end
        emptying.start()
        log._thread.join()
        stream.close()
        emptying.join()


def test_a_reader_that_has_gone_ends_the_log_alone():
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    log = AccessLog("json", Broken())
    log.add("POST", "/v1/predict", 200, 0.001, Work())
    log.close()
    assert not log._thread.is_alive()


def test_pictures_are_counted_for_the_request_that_is_answered():
    note(1, "nobody's")
    token = CURRENT.set(work := Work())
    note(2, "a")
    note(3, "b")
    CURRENT.reset(token)
    assert work == Work(5, "b")
