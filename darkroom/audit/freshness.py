"""Check whether the packed arrays still belong to the dataset and the parameters."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

ARRAYS = "data/arrays"


def notice() -> str:
    """One sentence if data/arrays is out of date by `dvc status`; else, or if DVC cannot tell, an empty string.

    Changes of the code do not count: only those of the dataset and of the parameters that select the data.
    """
    command = [sys.executable, "-m", "dvc", "status", "--json", "fetch", "preprocess"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return ""
    status = json.loads(done.stdout)
    if ARRAYS in dict(_changes(status, "changed outs")):
        return f"{ARRAYS} is not what dvc.lock records. Run `dvc repro preprocess` first."
    changed = dict.fromkeys(name for name, _ in _changes(status, "changed deps"))
    if not changed:
        return ""
    return f"{ARRAYS} is out of date, because these changed: {', '.join(changed)}. Run `dvc repro preprocess` first."


def _changes(status: Mapping[str, Any], kind: str) -> Iterator[tuple[str, Any]]:
    """The changed data and parameters of a kind, by their path or key, with how they changed."""
    for stage in status.values():
        for entry in stage:
            for path, change in entry.get(kind, {}).items() if isinstance(entry, Mapping) else ():
                if path == "params.yaml" and isinstance(change, Mapping):
                    yield from change.items()
                elif path.startswith("data/") and path != "data/checked.json":
                    yield path, change
