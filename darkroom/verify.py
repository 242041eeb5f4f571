"""Reproduces a commit from a clean clone, and attests which outputs came out the same to the bit.

The commit is cloned into a temporary folder (TMPDIR says where), all its stages run there by this Python, and nothing that was
computed before is used; then each output's digest is compared with the commit's dvc.lock. Exit code 0: all are the same; 1:
some differ, or it could not be done.
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
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from darkroom.core import processor
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_json
from darkroom.review import attestation, clone, lock, revision
from darkroom.review.attestation import Attestation, Change, Machine, Output
from darkroom.review.result import PREDICTIONS, flat
from darkroom.review.revision import WORKSPACE, Revision

SHOWN = 3  # of what differs
_ROUNDING = re.compile(
    r"avx|fma|amx|bf16|asimd|sve"
)  # features of a processor that decide in which order, and how exactly, sums are taken


def verify(found: Revision, threads: int | None, keep: bool) -> Attestation:
    """Reproduces a commit on so many cores (None: all that this process may use), and says what came out.

    Raises DarkroomError where its dvc.lock is missing or not of its files, where its data are not at hand, or a stage fails.
    """
    stale = lock.mismatches(found)
    if stale:
        raise DarkroomError(
            f"dvc.lock of {found.name} is not of its files ({_some(stale)}): run `dvc repro`, commit what it leaves, and verify that."
        )
    other = [path for path in revision.changed(found, WORKSPACE) if path != attestation.FILE]
    if other:
        print(f"The working tree is not {found.name} ({_some(other)}); what is verified is the commit, as git has it.")
    locked = lock.stages(found)
    params = attestation.used_params(locked)
    with _cores(threads), clone.clone(found, keep) as copy:
        data = _bring_data(locked, params, copy)
        for path, count in data.items():
            print(
                f"{path}: {count} {'file that git does not have is' if count == 1 else 'files that git does not have are'} taken from the working tree."
            )
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
            machine=_machine(params["train"]),
            versions=_versions(found),
            data=data,
            params=params,
            outputs=outputs,
        )


@contextlib.contextmanager
def _cores(threads: int | None) -> Iterator[None]:
    """Keeps this process, and what it starts, to so many cores: where parameters say `auto`, that many threads then run."""
    if threads is None:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise DarkroomError("--threads needs Linux, where a process can be kept to some of the cores: leave it out.")
    allowed = os.sched_getaffinity(0)
    if not 1 <= threads <= len(allowed):
        raise DarkroomError(
            f"--threads {threads} is not possible: give 1 to {len(allowed)}, the cores that this process may use."
        )
    os.sched_setaffinity(0, sorted(allowed)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _bring_data(locked: Mapping[str, Mapping], params: Mapping[str, Any], copy: clone.Clone) -> dict[str, int]:
    """Brings what stages read and git does not have into the clone, and makes sure that it is what they read before."""
    read, left = (
        {entry["path"] for stage in locked.values() for entry in stage.get(kind, ())} for kind in ("deps", "outs")
    )
    weights = params["model"]["initial_weights"]
    brought = clone.bring((read - left) | ({weights} - {"none"}), copy)
    for path, how in clone.changed_inputs(read - left, copy).items():
        lacks = "is missing" if how == "deleted" else "is not what dvc.lock was made from"
        raise DarkroomError(
            f"{path} in the working tree {lacks}: bring it back (`dvc checkout`, `dvc pull`, or by hand), and verify again."
        )
    return brought


def _compare(found: Revision, project: Path) -> Iterator[Output]:
    """Each output as the commit's dvc.lock knows it, and as it came out in the clone."""
    with contextlib.chdir(project):
        made = lock.stages(WORKSPACE)
    for name, stage in lock.stages(found).items():
        digests = {out["path"]: out.get("md5") for out in made.get(name, {}).get("outs", ())}
        for out in stage.get("outs", ()):
            path, digest = out["path"], digests.get(out["path"])
            same, committed, file = digest == out["md5"], found.read(path), project / path
            differs: dict[str, Any] = {}
            if not same and committed is not None and file.is_file():
                differs |= {"numbers": _changes(committed, file.read_bytes())} if file.suffix == ".json" else {}
                differs |= {"answers": _other_answers(committed, file.read_bytes())} if path == PREDICTIONS else {}
            yield Output(stage=name, path=path, locked=out["md5"], found=digest, same=same, **differs)


def _changes(committed: bytes, found: bytes) -> dict[str, Change]:
    """The numbers, and what is true or not, that differ between two JSON files, by dotted name."""
    old, new = (
        {
            name: value
            for name, value in flat(json.loads(contents)).items()
            if isinstance(value, bool | int | float) and math.isfinite(value)
        }
        for contents in (committed, found)
    )
    return {
        name: Change(committed=old.get(name), found=new.get(name))
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    }


def _other_answers(committed: bytes, found: bytes) -> int:
    """How many pictures two tables of predictions answer differently."""
    tables = (csv.DictReader(io.StringIO(contents.decode(), newline="")) for contents in (committed, found))
    old, new = ({row["id"]: row["predicted"] for row in table} for table in tables)
    return sum(old.get(name) != new.get(name) for name in {**old, **new})


def _machine(train: Mapping[str, Any]) -> Machine:
    """What computes here, chosen as the training chooses it."""
    from darkroom.models import hardware

    device = hardware.choose_device(train["device"])
    hardware.use_threads(train["threads"])
    return Machine(
        processor=processor.describe(),
        features=_features(),
        device=hardware.describe(device),
        precision=hardware.choose_precision(train["precision"], device),
        system=platform.platform(),
    )


def _features() -> tuple[str, ...]:
    """The processor's, as Linux tells them; none elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ()
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return tuple(sorted(flag for flag in flags if _ROUNDING.search(flag)))


def _versions(found: Revision) -> dict[str, str | None]:
    """The versions of Python and of the packages that the commit's requirements.txt pins, as installed; None where one is not."""
    versions: dict[str, str | None] = {"Python": platform.python_version()}
    for name, pinned in re.findall(
        r"^([\w.-]+)==(\S+)", (found.read("requirements.txt") or b"").decode(), re.MULTILINE
    ):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
        if versions[name] != pinned:
            print(f"requirements.txt pins {name} {pinned}; installed is {versions[name] or 'none'}.")
    return versions


def _table(attested: Attestation) -> str:
    """The outputs, a line each, for people."""
    widths = [max(len(getattr(output, name)) for output in attested.outputs) for name in ("stage", "path")]
    return "\n".join(
        f"{output.stage:{widths[0]}}  {output.path:{widths[1]}}  {_outcome(output)}" for output in attested.outputs
    )


def _outcome(output: Output) -> str:
    if output.same:
        return "same"
    said = [f"{name} {change.committed} → {change.found}" for name, change in output.numbers.items()]
    said += [f"other answers: {output.answers}"] if output.answers else []
    return f"different{': ' if said else ''}{_some(said)}" if output.found else "missing"


def _some(items: list[str]) -> str:
    return ", ".join(items[:SHOWN]) + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m darkroom.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("revision", nargs="?", default="HEAD", help="the commit to verify (default: HEAD)")
    parser.add_argument(
        "--output",
        default=attestation.FILE,
        metavar="FILE",
        help="where the attestation is written (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="keep the run to so many cores (default: all); train.threads stays where it is a number",
    )
    parser.add_argument("--keep", action="store_true", help="keep the clone, to look into it")
    parser.add_argument(
        "--check",
        action="store_true",
        help="run nothing: does the attestation that is there hold for the commit, and is all the same?",
    )
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # then too, the clone is removed
    try:
        found = revision.find(chosen.revision)
        if not chosen.check:
            attested = verify(found, chosen.threads, chosen.keep)
            write_json(chosen.output, attestation.as_json(attested))
            print(f"\n{_table(attested)}\n\n{chosen.output}, {attested.seconds:.0f} s:")
        standing = attestation.standing(WORKSPACE.read(chosen.output), found, lock.mismatches(found))
    except DarkroomError as error:
        sys.exit(f"verify: {error}")
    except OSError as error:
        sys.exit(
            f"verify: {error}: free some space or choose other folders (TMPDIR for the clone, --output), and verify again."
        )
    except KeyboardInterrupt:
        print("\nverify: Stopped; nothing was written.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    remedy = "" if standing.state in ("reproduced", "different") else " Run `python -m darkroom.verify`."
    print(f"{found.name} {standing.sentence}.{remedy}")
    sys.exit(int(standing.state != "reproduced"))


if __name__ == "__main__":
    main()
