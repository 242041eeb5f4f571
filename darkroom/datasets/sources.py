"""Where raw files come from, and the proof that they arrived whole.

Each source fills a folder: the user's own, one with what a mirror sent, one with what a Debian package holds. From that
folder the dataset's files are unpacked, checked and stored by one and the same function, so the result has the same bytes
whichever source served.
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

import requests
from tqdm import tqdm

from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import TEMPORARY, new_folder, write_json
from darkroom.datasets import formats
from darkroom.datasets.descriptions import Archive, Debian, File, Published

CONNECT_SECONDS, READ_SECONDS = 5, 30  # where there is no network, a mirror must fail in seconds
COMMAND_SECONDS = 300  # for one apt-get or dpkg-deb
MAX_DOWNLOAD = 2**30  # bytes of one archive; the largest known, EMNIST's, has 562 MB
_BLOCK = 2**20


class _Unavailable(Exception):
    """A source has not got the files; says why in few words."""


class _Wrong(Exception):
    """A source has got a file, but not the one that was published; names the file and what is wrong."""


def fetch(dataset: Published, folder: str | Path) -> str:
    """Leaves the dataset's files, checked and uncompressed, and its description in `folder`; returns which source served.

    The sources, in this order: the files that the user put into the dataset's folder, the mirrors, the Debian package.
    A file of the user's own that is wrong is refused; any other source that fails is followed by the next.
    Raises DarkroomError where a user's file is wrong, or where no source served.
    """
    folder, failures = Path(folder), []
    with new_folder(folder) as raw:
        for source, fill in _sources(dataset):
            with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY}{folder.name}-", dir=folder.parent) as scratch:
                try:
                    _collect(dataset, fill(Path(scratch)), raw, Path(scratch))
                except (_Unavailable, _Wrong) as reason:
                    if isinstance(reason, _Wrong) and source == _own(dataset):
                        raise DarkroomError(
                            f"{reason}: replace the file, or take it away so that another source can serve."
                        ) from None
                    failures.append(f"{source} ({reason})")
                    continue
            write_json(raw / formats.DESCRIPTION, dataset.model_dump(mode="json"))
            return source
        raise DarkroomError(f"{dataset.title} could not be fetched; tried: {'; '.join(failures)}. {_by_hand(dataset)}")


def _own(dataset: Published) -> str:
    return f"the files in {dataset.folder}"


def _sources(dataset: Published) -> Iterator[tuple[str, Callable[[Path], Path]]]:
    """The name of each source, and the function that fills a folder within a given empty one and returns it."""
    yield _own(dataset), lambda scratch: dataset.folder
    for mirror in dataset.mirrors:
        yield mirror, partial(_download, mirror, dataset.archives)
    if dataset.debian:
        yield f"the Debian package {dataset.debian.package}", partial(_unpack_debian, dataset.debian)


def _by_hand(dataset: Published) -> str:
    packed = [archive.name for archive in dataset.archives if archive.packed]
    files = f"{', '.join(file.name for file in dataset.files)} (each as it is or as .gz)"
    choice = f"{packed[0]}, or what is in it: {files}," if packed else files
    mirror = f"{dataset.mirrors[0]} or " if dataset.mirrors else ""
    return f"By hand: put {choice} from {mirror}{dataset.homepage} into {dataset.folder}, then run `dvc repro` again."


def _collect(dataset: Published, folder: Path, raw: Path, scratch: Path) -> None:
    """Stores the dataset's files from `folder`, checked and uncompressed, in `raw`.

    Raises _Wrong for the first file that is not the published one, even where others are missing, else _Unavailable.
    """
    places = [folder, *(folder / archive.inside for archive in dataset.archives if archive.inside)]
    if any(_find(file, places) is None for file in dataset.files):
        for archive in dataset.archives:
            if archive.packed and os.path.lexists(folder / archive.name):
                places.append(_unpack(folder / archive.name, archive, dataset.files, scratch / "unpacked"))
    missing = []
    for file in dataset.files:
        path = _find(file, places)
        if path is None:
            missing.append(file.name)
        else:
            _store(path, file, dataset, raw / file.name)
    if missing:
        raise _Unavailable(
            "no file there" if len(missing) == len(dataset.files) else f"{', '.join(missing)} missing there"
        )
    try:
        formats.decode(dataset, raw)
    except ValueError as error:
        raise _Wrong(f"{folder}: {error}") from None


def _find(file: File, places: list[Path]) -> Path | None:
    """The file as it is or as .gz; also where it is a link that leads nowhere, which a user should hear of."""
    candidates = (place / name for place in places for name in (file.name, f"{file.name}.gz"))
    return next((path for path in candidates if os.path.lexists(path)), None)


def _store(path: Path, file: File, dataset: Published, target: Path) -> None:
    """Copies one file, uncompressed, while its size and digest are taken; nothing longer than published is written."""
    _check_readable(path)
    archive = dataset.archive_of(file)
    if file.sha256 is None and archive and archive.md5 and archive.name == path.name:
        _check_md5(path, archive.md5)
    digest, size = hashlib.sha256(), 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as contents, target.open("wb") as out:
            while block := contents.read(_BLOCK):
                size += len(block)
                if size > file.bytes:
                    raise _Wrong(f"{path} holds more than the {file.bytes:,} bytes that were published")
                digest.update(block)
                out.write(block)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _Wrong(f"{path} is truncated or no gzip file ({error})") from None
    if file.sha256 and digest.hexdigest() != file.sha256:
        raise _Wrong(
            f"{path} was altered or truncated: its contents ({size:,} bytes) have the SHA-256 {digest.hexdigest()}, expected {file.sha256}"
        )
    if size != file.bytes:
        raise _Wrong(f"{path} is truncated: it holds {size:,} bytes, expected {file.bytes:,}")


def _unpack(path: Path, archive: Archive, files: tuple[File, ...], folder: Path) -> Path:
    """Unpacks from a .zip or .tar.gz, once its MD5 is right, the members that are named like the files; returns `folder`.

    Members are asked for by name and written under names of ours, so none can land outside `folder`.
    """
    _check_readable(path)
    _check_md5(path, archive.md5)
    folder.mkdir()
    wanted = {
        f"{archive.inside}/{name}" if archive.inside else name: (name, file.bytes)
        for file in files
        for name in (file.name, f"{file.name}.gz")
    }
    try:
        for member, size, contents in _members(path):
            name, limit = wanted.get(member, (None, 0))
            if name is None:
                continue
            if size > limit + _BLOCK:  # a .gz of what cannot be compressed is a little longer than its contents
                raise _Wrong(f"{path} holds {member} with {size:,} bytes, expected at most {limit:,}")
            with contents() as source, (folder / name).open("wb") as out:
                shutil.copyfileobj(source, out, _BLOCK)
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _Wrong(f"{path} cannot be unpacked ({error})") from None
    return folder


def _members(path: Path) -> Iterator[tuple[str, int, Callable[[], IO[bytes]]]]:
    """Name, size and contents of each regular file in a .zip or .tar.gz."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as zipped:
            for entry in zipped.infolist():
                yield entry.filename, entry.file_size, partial(zipped.open, entry)
    else:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                if member.isfile():
                    yield member.name, member.size, partial(tar.extractfile, member)


def _check_readable(path: Path) -> None:
    if not path.exists():
        raise _Wrong(f"{path} is a link that leads nowhere")
    if not path.is_file():
        raise _Wrong(f"{path} is a folder or a device, not a file")
    if not os.access(path, os.R_OK):
        raise _Wrong(f"{path} cannot be read by this user (try `chmod u+r`)")


def _check_md5(path: Path, expected: str | None) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    if found != expected:
        raise _Wrong(f"{path} was altered or truncated: it has the MD5 {found}, expected {expected}")


def _download(mirror: str, archives: tuple[Archive, ...], folder: Path) -> Path:
    for archive in archives:
        try:
            _get(mirror + archive.name, folder / archive.name)
        except requests.HTTPError as error:
            raise _Unavailable(f"{archive.name}: HTTP {error.response.status_code}") from None
        except requests.RequestException as error:
            raise _Unavailable(
                "no answer in time" if isinstance(error, requests.Timeout) else "the connection failed"
            ) from None
    return folder


def _get(url: str, path: Path) -> None:
    headers = {"Accept-Encoding": "identity"}  # the .gz itself, not what it would be after a transfer encoding
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as response:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        with path.open("wb") as file, tqdm(total=total, unit="B", unit_scale=True, desc=path.name, disable=None) as bar:
            for block in response.iter_content(_BLOCK):
                if file.tell() + len(block) > MAX_DOWNLOAD:
                    raise _Unavailable(f"{path.name} is longer than {MAX_DOWNLOAD:,} bytes")
                file.write(block)
                bar.update(len(block))


def _unpack_debian(debian: Debian, folder: Path) -> Path:
    """Downloads the package without installing it, as any user; where the machine has no package lists, with lists of our own."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise _Unavailable("apt-get is not on this machine")
    patience = ("-o", f"Acquire::http::Timeout={2 * CONNECT_SECONDS}", "-o", "Acquire::Retries=1")
    try:
        _command(folder, "apt-get", *patience, "download", debian.package)
    except _Unavailable:
        (folder / "lists").mkdir()
        private = ("-o", f"Dir::State::Lists={folder.resolve() / 'lists'}", "-o", f"Dir::Cache={folder.resolve()}")
        _command(folder, "apt-get", *patience, *private, "update")
        _command(folder, "apt-get", *patience, *private, "download", debian.package)
    package = next(folder.glob("*.deb"), None)
    if package is None:
        raise _Unavailable("apt-get left no package")
    _command(folder, "dpkg-deb", "-x", package.name, "package")
    return folder / "package" / debian.folder


def _command(folder: Path, *command: str) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise _Unavailable(f"{command[0]} took longer than {COMMAND_SECONDS} seconds") from None
    if done.returncode:
        said = [line.removeprefix("E: ") for line in done.stderr.splitlines() if not line.startswith("W: ")]
        raise _Unavailable(f"{command[0]}: {said[-1] if said else f'exit code {done.returncode}'}")
