import gzip
import hashlib
import io
import os
import socket
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions, sources
from tests import idx, mirrors

FILES = idx.contents()
TINY = idx.description(FILES)
UNPINNED = [{key: value for key, value in file.items() if key != "sha256"} for file in TINY["files"]]
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
DEBIAN = {"package": "dataset-tiny", "folder": "usr/share/tiny"}
OWN = "the files in data/datasets/tiny"
ARCHIVES = [{"name": f"{name}.gz"} for name in FILES]


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each test has its own working directory, no proxy, and none of the programs of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("NO_PROXY", "*")


def _fetch() -> str:
    return sources.fetch(descriptions.load("tiny"), "data/raw")


def _contents() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("data/raw").iterdir()}


def _error_message() -> str:
    """The message of a failed fetch; checks that it is one line, and that data/raw is unchanged."""
    Path("data/raw").mkdir(exist_ok=True)
    Path("data/raw/earlier").write_text("kept")
    before = _contents()
    with pytest.raises(DarkroomError) as caught:
        _fetch()
    assert _contents() == before
    assert sorted(path.name for path in Path("data").iterdir()) == ["datasets", "raw"]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _zipped(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in files.items()}


def _zip(files: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _tar(files: dict[str, bytes]) -> bytes:
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def test_every_source_gives_the_same_bytes():
    found = []
    with mirrors.serve(_zipped(FILES)) as mirror:
        values = {**TINY, "mirrors": [mirror], "archives": ARCHIVES, "debian": DEBIAN}
        idx.write_dataset("tiny", values)
        found.append((_fetch(), _contents()))
        idx.write_dataset("tiny", values, FILES, compress=True)
        found.append((_fetch(), _contents()))
        for name in FILES:
            Path(f"data/datasets/tiny/{name}.gz").unlink()
        idx.write_dataset("tiny", values, FILES)
        found.append((_fetch(), _contents()))
    assert [source for source, _ in found] == [mirror, OWN, OWN]
    assert found[0][1] == found[1][1] == found[2][1]
    assert found[0][1].keys() == {*FILES, descriptions.DESCRIPTION} and found[0][1].items() >= FILES.items()
    assert descriptions.parse(found[0][1][descriptions.DESCRIPTION].decode(), "raw") == descriptions.load("tiny")


def test_a_users_file_may_be_a_link(tmp_path: Path):
    folder = idx.write_dataset("tiny", TINY, FILES)
    (folder / IMAGES).rename(tmp_path / "elsewhere")
    (folder / IMAGES).symlink_to(tmp_path / "elsewhere")
    assert _fetch() == OWN
    assert not Path("data/raw", IMAGES).is_symlink()


@pytest.mark.parametrize("compress", [False, True])
def test_a_modified_file_of_the_user_is_an_error_even_with_a_working_mirror(compress: bool):
    modified = FILES[IMAGES][:-1] + bytes([FILES[IMAGES][-1] ^ 1])
    with mirrors.serve(_zipped(FILES)) as mirror:
        values = {**TINY, "mirrors": [mirror], "archives": ARCHIVES}
        idx.write_dataset("tiny", values, {IMAGES: modified}, compress)
        message = _error_message()
    assert message.startswith(f"data/datasets/tiny/{IMAGES}{'.gz' * compress} ")
    assert hashlib.sha256(modified).hexdigest() in message and hashlib.sha256(FILES[IMAGES]).hexdigest() in message
    assert "replace the file" in message


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (IMAGES, FILES[IMAGES][:-1], "was modified or truncated: the SHA-256 of its contents (783 bytes)"),
        (IMAGES, b"", "was modified or truncated: the SHA-256 of its contents (0 bytes)"),
        (IMAGES, FILES[IMAGES] * 2, "is larger than published: more than 784 bytes"),
        (f"{IMAGES}.gz", gzip.compress(bytes(2**24), mtime=0), "is larger than published: more than 784 bytes"),
        (f"{IMAGES}.gz", gzip.compress(FILES[IMAGES], mtime=0)[:-20], "is truncated or not a gzip file"),
        (f"{IMAGES}.gz", FILES[IMAGES], "is truncated or not a gzip file"),
        (f"{IMAGES}.gz", gzip.compress(FILES[IMAGES], mtime=0)[:40] + bytes(60), "is truncated or not a gzip file"),
    ],
)
def test_an_invalid_file_of_the_user_is_named(name: str, data: bytes, words: str):
    idx.write_dataset("tiny", TINY, {**{other: data for other, data in FILES.items() if other != IMAGES}, name: data})
    assert f"data/datasets/tiny/{name} {words}" in _error_message()


def test_a_decompression_bomb_stops_at_the_published_size(monkeypatch: pytest.MonkeyPatch):
    idx.write_dataset("tiny", TINY, {f"{IMAGES}.gz": gzip.compress(bytes(2**26), mtime=0)})
    read = []
    original = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size: read.append(size) or original(self, size))
    assert "larger than published" in _error_message()
    assert sum(read) <= 2**20


def test_an_unreadable_file_is_named(monkeypatch: pytest.MonkeyPatch):
    folder = idx.write_dataset("tiny", TINY, FILES)
    (folder / IMAGES).unlink()
    (folder / IMAGES).symlink_to("nowhere")
    assert f"{IMAGES} is a broken link" in _error_message()
    (folder / IMAGES).unlink()
    (folder / IMAGES).mkdir()
    assert f"{IMAGES} is a folder or a device, not a file" in _error_message()
    (folder / IMAGES).rmdir()
    os.mkfifo(folder / IMAGES)
    assert f"{IMAGES} is a folder or a device, not a file" in _error_message()
    (folder / IMAGES).unlink()
    (folder / IMAGES).write_bytes(FILES[IMAGES])
    # Replaced, because the tests may run as root, who can read every file.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != IMAGES)
    assert f"{IMAGES} cannot be read by this user" in _error_message()


def test_unpacked_files_of_the_user_without_a_checksum_must_have_the_right_size_and_structure():
    archives = [{"name": name, "md5": _md5(data)} for name, data in _zipped(FILES).items()]
    values = {**TINY, "files": UNPINNED, "archives": archives}
    folder = idx.write_dataset("tiny", values, FILES)
    assert _fetch() == OWN
    idx.write(folder / LABELS, np.full(12, 3, np.uint8))
    assert f"data/datasets/tiny: {LABELS} has the label 3 at index 0, but there are 3 classes" in _error_message()
    (folder / LABELS).write_bytes(FILES[LABELS][:-1])
    assert f"{LABELS} is truncated: it has 19 bytes, expected 20" in _error_message()
    (folder / LABELS).unlink()
    idx.write_dataset("tiny", values, {LABELS: FILES[LABELS][:-1] + b"\1"}, compress=True)
    message = _error_message()
    assert f"{LABELS}.gz was modified or truncated: its MD5" in message and archives[1]["md5"] in message


@pytest.mark.parametrize(("name", "pack"), [("all.zip", _zip), ("all.tar.gz", _tar)])
def test_an_archive_of_several_files_is_unpacked(name: str, pack: object, tmp_path: Path):
    outside = {
        "../outside": b"x",
        str(tmp_path / "outside"): b"x",
        "in/../../outside": b"x",
        IMAGES: b"outside of the folder",
        "in/other": b"x",
    }
    inside = {f"in/{file}.gz": data for file, data in zip(FILES, _zipped(FILES).values(), strict=True)}
    inside[f"in/{LABELS}"] = FILES[LABELS]
    del inside[f"in/{LABELS}.gz"]
    packed = pack({**outside, **inside})
    values = {**TINY, "files": UNPINNED, "archives": [{"name": name, "md5": _md5(packed), "inside": "in"}]}
    with mirrors.serve({name: packed}) as mirror:
        folder = idx.write_dataset("tiny", {**values, "mirrors": [mirror]})
        assert _fetch() == mirror
    assert _contents().items() >= FILES.items()
    assert not list(tmp_path.rglob("outside"))
    (folder / name).write_bytes(packed)
    assert _fetch() == OWN
    (folder / name).write_bytes(packed[:-1])
    assert f"{name} was modified or truncated: its MD5" in _error_message()
    (folder / name).unlink()
    (folder / "in").mkdir()
    for member, data in inside.items():
        (folder / member).write_bytes(data)
    assert _fetch() == OWN


def test_an_archive_with_too_large_or_missing_files_is_an_error():
    for packed, words in (
        (_zip({IMAGES: bytes(2**21)}), f"all.zip contains {IMAGES} with 2,097,152 bytes, expected at most 784"),
        (b"PK and nothing else", "all.zip cannot be unpacked"),
    ):
        idx.write_dataset("tiny", {**TINY, "archives": [{"name": "all.zip", "md5": _md5(packed)}]})
        Path("data/datasets/tiny/all.zip").write_bytes(packed)
        assert words in _error_message()
    packed = _zip({name: FILES[name] for name in FILES if name != LABELS})
    idx.write_dataset("tiny", {**TINY, "archives": [{"name": "all.zip", "md5": _md5(packed)}]})
    Path("data/datasets/tiny/all.zip").write_bytes(packed)
    assert f"{OWN} (missing: {LABELS})" in _error_message()


def test_the_first_mirror_with_the_right_files_is_used():
    wrong = _zipped({**FILES, LABELS: FILES[LABELS][:-1]})
    with mirrors.serve({}) as empty, mirrors.serve(wrong) as modified, mirrors.serve(_zipped(FILES)) as good:
        idx.write_dataset("tiny", {**TINY, "mirrors": [empty, modified, good], "archives": ARCHIVES})
        assert _fetch() == good
    assert _contents().items() >= FILES.items()


def test_if_all_sources_fail_the_message_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as closed:  # bound, so no other program can use the port, but not listening
        closed.bind(("127.0.0.1", 0))
        closed_port = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with (
            mirrors.serve({}) as empty,
            mirrors.serve(_zipped(FILES), missing=9) as broken,
            mirrors.serve({f"{IMAGES}.gz": bytes(1001)}) as large,
        ):
            monkeypatch.setattr(sources, "MAX_DOWNLOAD", 1000)
            archives = ARCHIVES
            idx.write_dataset(
                "tiny",
                {**TINY, "mirrors": [closed_port, empty, broken, large], "archives": archives, "debian": DEBIAN},
                {LABELS: FILES[LABELS]},
            )
            message = _error_message()
    missing = f"missing: {IMAGES}, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"
    tried = [
        f"{OWN} ({missing})",
        f"{closed_port} (the connection failed)",
        f"{empty} ({IMAGES}.gz: HTTP 404)",
        f"{broken} (the connection failed)",
        f"{large} ({IMAGES}.gz is larger than 1,000 bytes)",
        "the Debian package dataset-tiny (apt-get is not installed)",
    ]
    assert f"tried: {'; '.join(tried)}. " in message and message.startswith("Tiny ")
    files = f"{IMAGES}, {LABELS}, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"
    assert f"download {files} (uncompressed or as .gz) from {closed_port} or https://example.org/tiny" in message
    assert "to data/datasets/tiny, then run `dvc repro`" in message


def test_a_mirror_that_does_not_answer_times_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "READ_SECONDS", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        idx.write_dataset("tiny", {**TINY, "mirrors": [mirror], "archives": ARCHIVES})
        assert f"{mirror} (timed out)" in _error_message()


def _programs(**scripts: str) -> None:
    Path("bin").mkdir()
    for name, script in scripts.items():
        path = Path("bin", name.replace("_", "-"))
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\necho {path.name} $* >> {Path.cwd()}/calls\n{script}\n")
        path.chmod(0o755)


def _unpacking() -> str:
    """A script that does what `dpkg-deb -x PACKAGE FOLDER` does."""
    shelf = Path("shelf").absolute()
    shelf.mkdir()
    for name, data in _zipped(FILES).items():
        (shelf / name).write_bytes(data)
    return f"mkdir -p $3/usr/share/tiny && cp {shelf}/* $3/usr/share/tiny"


def test_the_debian_package_is_the_last_source():
    _programs(apt_get="[ $5 = download ] && touch $6_1_all.deb", dpkg_deb=_unpacking())
    idx.write_dataset("tiny", {**TINY, "debian": DEBIAN})
    assert _fetch() == "the Debian package dataset-tiny"
    assert _contents().items() >= FILES.items()
    assert [line.split()[-1] for line in Path("calls").read_text().splitlines()] == ["dataset-tiny", "package"]


def test_without_package_lists_temporary_ones_are_used():
    missing = '{ echo "E: Unable to locate package" >&2; exit 100; }'
    script = f'case "$*" in *update) touch updated;; *) [ -e updated ] || {missing}; touch tiny.deb;; esac'
    _programs(apt_get=script, dpkg_deb=_unpacking())
    idx.write_dataset("tiny", {**TINY, "debian": DEBIAN})
    assert _fetch() == "the Debian package dataset-tiny"
    first, update, second, _ = Path("calls").read_text().splitlines()
    lists = next(word for word in update.split() if word.startswith("Dir::State::Lists="))
    assert "Dir::State" not in first and lists in second
    assert lists.startswith(f"Dir::State::Lists={Path.cwd()}/data/.tmp-")


@pytest.mark.parametrize(
    ("apt", "words"),
    [
        ("echo 'E: Unable to locate package' >&2; echo 'W: slow' >&2; exit 100", "(apt-get: Unable to locate package)"),
        ("exit 3", "(apt-get: exit code 3)"),
        ("exit 0", "(apt-get downloaded no package)"),
        ("exec sleep 60", "(apt-get took longer than 0.2 seconds)"),
        ("touch tiny.deb", "(dpkg-deb: not an archive)"),
    ],
)
def test_a_failing_debian_package_is_a_failed_source(apt: str, words: str, monkeypatch: pytest.MonkeyPatch):
    if "sleep" in apt:
        monkeypatch.setattr(sources, "COMMAND_SECONDS", 0.2)
    _programs(apt_get=apt, dpkg_deb="echo 'not an archive' >&2; exit 2")
    idx.write_dataset("tiny", {**TINY, "debian": DEBIAN})
    assert f"the Debian package dataset-tiny {words}" in _error_message()


def test_a_full_disk_is_not_a_failure_of_a_source(monkeypatch: pytest.MonkeyPatch):
    idx.write_dataset("tiny", TINY, FILES)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sources, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        _fetch()
    assert not Path("data/raw").exists()
