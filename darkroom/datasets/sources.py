"""Fetch the raw files of a published dataset and verify them.

Each source provides a folder: the user's own, the downloads from a mirror, or the contents of a Debian package. One
function unpacks, checks and stores the files from that folder, so the result has the same bytes with any source.
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
from darkroom.datasets.descriptions import DESCRIPTION, Archive, Debian, File, Published

CONNECT_SECONDS, READ_SECONDS = 5, 30  # without a network, a mirror must fail within seconds
COMMAND_SECONDS = 300  # for one run of apt-get or dpkg-deb
MAX_DOWNLOAD = 2**30  # bytes of one archive; the largest of the built-in datasets, EMNIST's, has 562 MB
_BLOCK = 2**20


class _Unavailable(Exception):
    """A source does not have the files; the message says why in a few words."""


class _Invalid(Exception):
    """A file of a source is not the published one; the message names the file and the difference."""


def fetch(dataset: Published, folder: str | Path) -> str:
    """Write the verified, uncompressed files of the dataset and its description to `folder`; return the source used.

    The sources are tried in this order: files in the dataset's folder, the mirrors, the Debian package. If a source
    fails, the next one is tried. Raises DarkroomError if a file in the dataset's folder is invalid, or if all sources
    fail.
    """
    folder, failures = Path(folder), []
    with new_folder(folder) as raw:
        for source, provide in _sources(dataset):
            with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY}{folder.name}-", dir=folder.parent) as scratch:
                try:
                    _collect(dataset, provide(Path(scratch)), raw, Path(scratch))
                except (_Unavailable, _Invalid) as reason:
                    if isinstance(reason, _Invalid) and source == _own(dataset):
                        remedy = "replace the file, or remove it to use another source"
                        raise DarkroomError(f"{reason}: {remedy}.") from None
                    failures.append(f"{source} ({reason})")
                    continue
            write_json(raw / DESCRIPTION, dataset.model_dump(mode="json"))
            return source
        raise DarkroomError(f"{dataset.title} cannot be fetched; tried: {'; '.join(failures)}. {_by_hand(dataset)}")


def _own(dataset: Published) -> str:
    return f"the files in {dataset.folder}"


def _sources(dataset: Published) -> Iterator[tuple[str, Callable[[Path], Path]]]:
    """The name of each source, and a function that returns the folder with its files, given an empty folder to use."""
    yield _own(dataset), lambda scratch: dataset.folder
    for mirror in dataset.mirrors:
        yield mirror, partial(_download, mirror, dataset.archives)
    if dataset.debian:
        yield f"the Debian package {dataset.debian.package}", partial(_unpack_debian, dataset.debian)


def _by_hand(dataset: Published) -> str:
    packed = [archive.name for archive in dataset.archives if archive.packed]
    files = f"{', '.join(file.name for file in dataset.files)} (uncompressed or as .gz)"
    choice = f"{packed[0]}, or its files {files}," if packed else files
    mirror = f"{dataset.mirrors[0]} or " if dataset.mirrors else ""
    download = f"download {choice} from {mirror}{dataset.homepage} to {dataset.folder}"
    return f"Alternatively, {download}, then run `dvc repro` again."


def _collect(dataset: Published, folder: Path, raw: Path, scratch: Path) -> None:
    """Copy the dataset's files from `folder` to `raw`, verified and uncompressed.

    Raises _Invalid for the first file that is not the published one, even if others are missing; else _Unavailable if a
    file is missing.
    """
    folders = [folder, *(folder / archive.inside for archive in dataset.archives if archive.inside)]
    if any(_find(file, folders) is None for file in dataset.files):
        for archive in dataset.archives:
            if archive.packed and os.path.lexists(folder / archive.name):
                folders.append(_unpack(folder / archive.name, archive, dataset.files, scratch / "unpacked"))
    missing = []
    for file in dataset.files:
        path = _find(file, folders)
        if path is None:
            missing.append(file.name)
        else:
            _store(path, file, dataset, raw / file.name)
    if missing:
        raise _Unavailable("no files" if len(missing) == len(dataset.files) else f"missing: {', '.join(missing)}")
    try:
        formats.decode(dataset, raw)
    except ValueError as error:
        raise _Invalid(f"{folder}: {error}") from None


def _find(file: File, folders: list[Path]) -> Path | None:
    """The path of the file, uncompressed or as .gz. A broken link counts, so that it is reported."""
    candidates = (folder / name for folder in folders for name in (file.name, f"{file.name}.gz"))
    return next((path for path in candidates if os.path.lexists(path)), None)


def _store(path: Path, file: File, dataset: Published, target: Path) -> None:
    """Copy one file, uncompressed, and verify its size and digest; never write more bytes than were published."""
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
                    raise _Invalid(f"{path} is larger than published: more than {file.bytes:,} bytes")
                digest.update(block)
                out.write(block)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _Invalid(f"{path} is truncated or not a gzip file ({error})") from None
    if file.sha256 and digest.hexdigest() != file.sha256:
        found = f"the SHA-256 of its contents ({size:,} bytes) is {digest.hexdigest()}"
        raise _Invalid(f"{path} was modified or truncated: {found}, expected {file.sha256}")
    if size != file.bytes:
        raise _Invalid(f"{path} is truncated: it has {size:,} bytes, expected {file.bytes:,}")


def _unpack(path: Path, archive: Archive, files: tuple[File, ...], folder: Path) -> Path:
    """Verify the MD5 of a .zip or .tar.gz, then unpack the members with the names of the files; return `folder`.

    Only members with an expected name are written, under that name, so none can be written outside `folder`.
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
            if size > limit + _BLOCK:  # a .gz of incompressible contents is slightly larger than these
                raise _Invalid(f"{path} contains {member} with {size:,} bytes, expected at most {limit:,}")
            with contents() as source, (folder / name).open("wb") as out:
                shutil.copyfileobj(source, out, _BLOCK)
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _Invalid(f"{path} cannot be unpacked ({error})") from None
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
        raise _Invalid(f"{path} is a broken link")
    if not path.is_file():
        raise _Invalid(f"{path} is a folder or a device, not a file")
    if not os.access(path, os.R_OK):
        raise _Invalid(f"{path} cannot be read by this user (try `chmod u+r`)")


def _check_md5(path: Path, expected: str | None) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    if found != expected:
        raise _Invalid(f"{path} was modified or truncated: its MD5 is {found}, expected {expected}")


def _download(mirror: str, archives: tuple[Archive, ...], folder: Path) -> Path:
    for archive in archives:
        try:
            _get(mirror + archive.name, folder / archive.name)
        except requests.HTTPError as error:
            raise _Unavailable(f"{archive.name}: HTTP {error.response.status_code}") from None
        except requests.RequestException as error:
            timed_out = isinstance(error, requests.Timeout)
            raise _Unavailable("timed out" if timed_out else "the connection failed") from None
    return folder


def _get(url: str, path: Path) -> None:
    headers = {"Accept-Encoding": "identity"}  # else requests would decompress a .gz while it arrives
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as response:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        with path.open("wb") as file, tqdm(total=total, unit="B", unit_scale=True, desc=path.name, disable=None) as bar:
            for block in response.iter_content(_BLOCK):
                if file.tell() + len(block) > MAX_DOWNLOAD:
                    raise _Unavailable(f"{path.name} is larger than {MAX_DOWNLOAD:,} bytes")
                file.write(block)
                bar.update(len(block))


def _unpack_debian(debian: Debian, folder: Path) -> Path:
    """Download and unpack the package without installing it; without package lists, use temporary ones."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise _Unavailable("apt-get is not installed")
    options = ("-o", f"Acquire::http::Timeout={2 * CONNECT_SECONDS}", "-o", "Acquire::Retries=1")
    try:
        _command(folder, "apt-get", *options, "download", debian.package)
    except _Unavailable:
        (folder / "lists").mkdir()
        private = ("-o", f"Dir::State::Lists={folder.resolve() / 'lists'}", "-o", f"Dir::Cache={folder.resolve()}")
        _command(folder, "apt-get", *options, *private, "update")
        _command(folder, "apt-get", *options, *private, "download", debian.package)
    package = next(folder.glob("*.deb"), None)
    if package is None:
        raise _Unavailable("apt-get downloaded no package")
    _command(folder, "dpkg-deb", "-x", package.name, "package")
    return folder / "package" / debian.folder


def _command(folder: Path, *command: str) -> None:
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": COMMAND_SECONDS}
    try:
        done = subprocess.run(command, cwd=folder, env={**os.environ, "LC_ALL": "C"}, check=False, **options)
    except subprocess.TimeoutExpired:
        raise _Unavailable(f"{command[0]} took longer than {COMMAND_SECONDS} seconds") from None
    if done.returncode:
        errors = [line.removeprefix("E: ") for line in done.stderr.splitlines() if not line.startswith("W: ")]
        raise _Unavailable(f"{command[0]}: {errors[-1] if errors else f'exit code {done.returncode}'}")
