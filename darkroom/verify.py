"""Reproduce a commit in a clean clone; attest which outputs are equal bit for bit.

The commit is cloned into a temporary folder (TMPDIR sets where). All stages run there with this Python, without any
earlier results. Then the digest of each output is compared with the commit's dvc.lock.

exit codes:
  0  all outputs are identical
  1  some differ, or the commit could not be reproduced
  2  the command is wrong
"""

import argparse
import contextlib
import csv
import importlib.metadata
import io
import json
import math
import os
import platform
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from darkroom.core import processor
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_json
from darkroom.core.params import flat
from darkroom.core.spelling import counted
from darkroom.review import attestation, clone, lock, revision
from darkroom.review.attestation import Attestation, Change, Machine, Output, State
from darkroom.review.result import PREDICTIONS
from darkroom.review.revision import WORKSPACE, Revision

SHOWN = 3  # differences per line
_ROUNDING = re.compile(r"avx|fma|amx|bf16|asimd|sve")  # instruction sets that determine how sums are rounded


def verify(found: Revision, threads: int | None, keep: bool) -> Attestation:
    """Reproduce a commit with `threads` cores (None: all that this process may use).

    Raises DarkroomError if its dvc.lock is missing or not current, if its data are missing, or if a stage fails.
    """
    stale = lock.grouped(lock.mismatches(found))
    if stale:
        raise DarkroomError(
            f"dvc.lock of {found.name} is not current ({_some(stale)}): run `dvc repro`, commit, and verify that."
        )
    other = [path for path in revision.changed(found, WORKSPACE) if path != attestation.FILE]
    if other:
        print(f"The working tree differs from {found.name} ({_some(other)}); the commit is what is verified.")
    params = attestation.used_params(lock.stages(found))
    settings = flat(params)
    with _cores(threads), clone.clone(found, keep) as copy:
        data = _bring_data(found, copy)
        for path, count in data.items():
            print(f"{path}: {counted(count, 'file')} that git does not have, taken from the working tree.")
        print(f"{found.name} ({found.commit[:12]}) runs in {copy.project}\n", flush=True)
        started, clock = datetime.now(UTC), time.monotonic()
        clone.reproduce(copy)
        seconds = time.monotonic() - clock
        outputs = tuple(_compare(found, copy.project))
        return Attestation(
            commit=found.commit,
            lock_sha256=attestation.lock_digest(found),
            same=all(output.same for output in outputs),
            started=started.isoformat(timespec="seconds"),
            seconds=round(seconds, 1),
            machine=_machine(settings["train.device"], settings["train.precision"], settings["train.threads"]),
            versions=_versions(found),
            data=data,
            params=params,
            outputs=outputs,
        )


@contextlib.contextmanager
def _cores(threads: int | None) -> Iterator[None]:
    """Restrict this process and its children to `threads` cores; `auto` in params.yaml then means as many threads."""
    if threads is None:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise DarkroomError("--threads needs Linux, where a process can be restricted to some cores: omit it.")
    allowed = os.sched_getaffinity(0)
    if not 1 <= threads <= len(allowed):
        raise DarkroomError(f"--threads {threads}: must be 1 to {len(allowed)}, the cores that this process may use.")
    os.sched_setaffinity(0, sorted(allowed)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _bring_data(found: Revision, copy: clone.Clone) -> dict[str, int]:
    """Bring what stages read and git does not have into the clone; raise DarkroomError if it has changed since."""
    locked = lock.stages(found).values()
    read, written = ({entry["path"] for stage in locked for entry in stage.get(kind, ())} for kind in ("deps", "outs"))
    sources = read - written
    # Not the rooms: untracked code of the working tree must not run in the clone
    data = {path for path in sources if path.startswith(lock.DATA) or not found.exists(path)}
    brought = clone.bring(data, copy)
    for path, how in clone.changed_inputs(sources, copy).items():
        lacks = "is missing" if how == "deleted" else "is not what dvc.lock was made from"
        raise DarkroomError(
            f"{path} in the working tree {lacks}: restore it (`dvc checkout`, `dvc pull`, or by hand), then retry."
        )
    return brought


def _compare(found: Revision, project: Path) -> Iterator[Output]:
    """Each output in the commit's dvc.lock, compared with that in the clone."""
    with contextlib.chdir(project):
        made = lock.stages(WORKSPACE)
    for name, stage in lock.stages(found).items():
        digests = {out["path"]: out.get("md5") for out in made.get(name, {}).get("outs", ())}
        for out in lock.repeatable_outputs(stage):
            path, digest = out["path"], digests.get(out["path"])
            same, committed, file = digest == out["md5"], found.read(path), project / path
            differences: dict[str, Any] = {}
            if not same and committed is not None and file.is_file():
                contents = file.read_bytes()
                differences |= {"numbers": _changes(committed, contents)} if file.suffix == ".json" else {}
                differences |= {"predictions": _differing(committed, contents)} if path == PREDICTIONS else {}
            yield Output(stage=name, path=path, locked=out["md5"], found=digest, same=same, **differences)


def _changes(committed: bytes, found: bytes) -> dict[str, Change]:
    """The numbers and booleans that differ between two JSON files, by dotted key."""
    old, new = (
        {
            key: value
            for key, value in flat(json.loads(contents)).items()
            if isinstance(value, bool | int | float) and math.isfinite(value)
        }
        for contents in (committed, found)
    )
    return {
        key: Change(committed=old.get(key), found=new.get(key))
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    }


def _differing(committed: bytes, found: bytes) -> int:
    """How many predictions differ between two tables."""
    tables = (csv.DictReader(io.StringIO(contents.decode(), newline="")) for contents in (committed, found))
    old, new = ({row["id"]: row.get("predicted", row.get("recommended")) for row in table} for table in tables)
    return sum(old.get(name) != new.get(name) for name in {**old, **new})


def _machine(device: str, precision: str, threads: int | str) -> Machine:
    """The hardware as a training with these parameters uses it."""
    from darkroom.models import hardware

    chosen = hardware.choose_device(device)
    hardware.use_threads(threads)
    return Machine(
        processor=processor.describe(),
        features=_features(),
        device=hardware.describe(chosen),
        precision=hardware.choose_precision(precision, chosen),
        system=platform.platform(),
    )


def _features() -> tuple[str, ...]:
    """The processor's instruction sets that matter for rounding, on Linux; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ()
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return tuple(sorted(flag for flag in flags if _ROUNDING.search(flag)))


def _versions(found: Revision) -> dict[str, str | None]:
    """The installed versions of Python and of the packages that the commit pins; None if not installed."""
    versions: dict[str, str | None] = {"Python": platform.python_version()}
    for name, pinned in _pins(found, "requirements.txt"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
        if versions[name] != pinned:
            print(f"The requirements pin {name} {pinned}; installed is {versions[name] or 'none'}.")
    return versions


def _pins(found: Revision, path: str) -> Iterator[tuple[str, str]]:
    """Name and version of each package in a file of requirements and in the files that it includes (`-r`)."""
    for line in (found.read(path) or b"").decode().splitlines():
        if included := re.match(r"-r\s+(\S+)", line):
            yield from _pins(found, included[1])
        elif pin := re.match(r"([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)", line):
            yield pin[1], pin[2]


def _table(attested: Attestation) -> str:
    """One line per output, for people."""
    widths = [max(len(getattr(output, name)) for output in attested.outputs) for name in ("stage", "path")]
    return "\n".join(
        f"{output.stage:{widths[0]}}  {output.path:{widths[1]}}  {_outcome(output)}" for output in attested.outputs
    )


def _outcome(output: Output) -> str:
    if output.same:
        return "same"
    parts = [f"{key} {change.committed} → {change.found}" for key, change in output.numbers.items()]
    parts += [f"{output.predictions} predictions differ"] if output.predictions else []
    return f"different{': ' if parts else ''}{_some(parts)}" if output.found else "missing"


def _some(items: Sequence[Any]) -> str:
    listed = ", ".join(map(str, items[:SHOWN]))
    return listed + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")


def _require_writable(output: Path) -> None:
    """Raise DarkroomError, before anything runs, if the attestation could not be written there."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DarkroomError(f"--output {output}: {error.strerror}.") from None
    if output.is_dir() or not os.access(output.parent, os.W_OK):
        raise DarkroomError(f"--output {output}: must be a file in a folder that can be written.")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m darkroom.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("revision", metavar="REVISION", nargs="?", default="HEAD", help="a commit (default: HEAD)")
    parser.add_argument(
        "--output", default=attestation.FILE, metavar="FILE", help="the attestation (default: %(default)s)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="restrict the run to N cores (default: all); a number in train.threads still applies",
    )
    parser.add_argument("--keep", action="store_true", help="keep the clone for inspection")
    parser.add_argument(
        "--check",
        action="store_true",
        help="run nothing; check whether the existing attestation holds for the commit and all outputs are identical",
    )
    chosen = parser.parse_args(arguments)
    if chosen.threads is not None and chosen.threads < 1:
        parser.error(f"--threads {chosen.threads}: must be at least 1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the clone is removed on SIGTERM, too
    try:
        found = revision.find(chosen.revision)
        if not chosen.check:
            _require_writable(Path(chosen.output))
            attested = verify(found, chosen.threads, chosen.keep)
            print(f"\n{_table(attested)}\n")
            write_json(chosen.output, attested.as_json())
            print(f"{chosen.output}, {attested.seconds:.0f} s:")
        standing = attestation.standing(WORKSPACE.read(chosen.output), found, lock.mismatches(found))
    except DarkroomError as error:
        sys.exit(f"verify: {error}")
    except OSError as error:
        sys.exit(f"verify: {error}: free disk space or choose other folders (TMPDIR for the clone, --output).")
    except KeyboardInterrupt:
        print("\nverify: interrupted; nothing was written.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    remedy = "" if standing.state in (State.REPRODUCED, State.DIFFERENT) else " Run `python -m darkroom.verify`."
    print(f"{found.name} {standing}.{remedy}")
    sys.exit(int(standing.state != State.REPRODUCED))


if __name__ == "__main__":
    main()
