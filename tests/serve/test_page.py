"""Tests of the page at / as files."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from darkroom.serve import page
from tests.serving import Api, listening

FOLDER = Path(page.__file__).with_name("page")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    api = Api(tmp_path_factory.mktemp("page") / "bundle")
    with listening(api.app, api.service) as (_, url):
        yield f"{url}/"
    api.service.close()


@pytest.mark.parametrize(
    ("path", "kind"), [("", "text/html"), ("page/page.css", "text/css"), ("page/page.js", "text/javascript")]
)
def test_a_file_is_sent_once_and_then_revalidated(url: str, path: str, kind: str):
    first = httpx.get(url + path)
    assert (first.status_code, first.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
    assert (
        first.headers["x-content-type-options"] == "nosniff"
        and "default-src 'none'" in first.headers["content-security-policy"]
    )
    again = httpx.get(url + path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert httpx.head(url + path).headers["content-length"] == str(len(first.content))


@pytest.mark.parametrize(
    "path", ["page/", "page/nothing.js", "page/../page.py", "page/%2e%2e/page.py", "page//etc/passwd", "page/page.js/"]
)
def test_no_other_file_is_sent(url: str, path: str):
    address = httpx.URL(url).copy_with(raw_path=f"/{path}".encode())
    assert httpx.get(address).status_code == 404


@pytest.mark.parametrize("kind", ["image", "text", "history"])
def test_the_page_is_small_and_self_contained(kind: str):
    files = [FOLDER / name for name in page.FILES[kind].values()]
    assert sum(file.stat().st_size for file in files) < 30_000
    markup = (FOLDER / page.FILES[kind]["/"]).read_text(encoding="utf-8")
    forbidden = r"<script(?![^>]*src=)|<style|\bstyle=|\bon\w+="  # by the content security policy
    assert not re.search(forbidden, markup)
    assert all(
        "://" not in file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "") for file in files
    )


def test_each_file_belongs_to_a_page():
    assert {name for files in page.FILES.values() for name in files.values()} == {one.name for one in FOLDER.iterdir()}
