"""List the teachers, or keep models/trained as one.

    python -m darkroom.teacher
    python -m darkroom.teacher keep big
    python -m darkroom.teacher keep big --add

`keep` writes weights and description to data/teachers/<name>, and measures the accuracy on the test split. With --add,
the network joins those that the teacher has: an ensemble. Then train a student: `dvc exp run -S model.name=sprint -S
train.distill.teacher=big`.
"""

import argparse
import hashlib
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import new_folder, write_json
from darkroom.core.spelling import NOUNS, counted, plural
from darkroom.models.checkpoints import Trained, open_trained
from darkroom.models.inference import predict
from darkroom.review import digests, lock, revision
from darkroom.review.revision import WORKSPACE
from darkroom.teachers import descriptions, ensemble
from darkroom.teachers.descriptions import FILE, FOLDER, Teacher

TRAINED = "models/trained"


def keep(name: str, add: bool, commit: str) -> Teacher:
    """Keep the network in models/trained as the teacher `name`, or `add` it to this teacher; return its description.

    `commit` is that of git whose dvc.lock describes the training, or "". Raises DarkroomError if the name is taken, or
    with `add` unknown; if models/trained does not belong to data/arrays, or is not of images; or if the teacher has
    other classes, another test split, or this network already. Nothing is changed then.
    """
    folder = FOLDER / name
    if not re.fullmatch(descriptions.NAME, name) or name == descriptions.NONE:
        raise DarkroomError(f"NAME = {name!r}: must consist of letters, digits, - and _, and must not be none.")
    if folder.exists() and not add:
        raise DarkroomError(f"{folder} exists: choose another name, add this network with --add, or remove the folder.")
    if not folder.exists() and (tracked := folder.with_name(f"{name}.dvc")).exists():
        raise DarkroomError(f"{folder} is not here, but {tracked} is: run `dvc checkout {tracked}`, or `dvc pull`.")
    if add and name not in descriptions.known():
        raise DarkroomError(f"{folder} is not a teacher yet: omit --add.")
    trained, earlier = open_trained(), descriptions.load(name) if add else None
    description, manifest = trained.description, trained.manifest
    if manifest.kind != "image":
        what = plural(NOUNS[manifest.kind])
        raise DarkroomError(f"{TRAINED} is of {what}, and train.distill needs images: it cannot be a teacher.")
    if earlier:
        earlier.require_same_task(manifest)
    with new_folder(folder) as temporary:
        if earlier:
            shutil.copytree(folder, temporary, dirs_exist_ok=True)
        networks = earlier.model_dump(mode="json")["networks"] if earlier else []
        added = _copy(trained, temporary / f"{len(networks) + 1}.safetensors", commit)
        if added["sha256"] in {network["sha256"] for network in networks}:
            raise DarkroomError(f"{folder} has this network already: train another one first, with another seed.")
        described = {
            **{key: getattr(description, key) for key in ("dataset", "title", "licence", "classes")},
            "test_examples_sha256": manifest.test_examples_sha256,
            "accuracy": 0.0,
            "networks": [*networks, added],
        }
        together = ensemble.load(temporary, descriptions.validate(name, described), manifest).to(trained.device)
        test = trained.split("test")
        predicted = predict(together, test.inputs, manifest.mean, manifest.std).argmax(1)
        described["accuracy"] = float((predicted == test.labels).mean())
        write_json(temporary / FILE, described)
    return descriptions.load(name)


def _copy(trained: Trained, path: Path, commit: str) -> dict[str, Any]:
    """Copy the weights in models/trained to `path`, and describe them as a `Network` of a teacher."""
    shutil.copyfile(Path(TRAINED, "model.safetensors"), path)
    description, weights = trained.description, path.read_bytes()
    pretrained = description.params.get("pretrained")
    return {
        "file": path.name,
        "bytes": len(weights),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "family": description.name,
        **{key: getattr(description, key) for key in ("arguments", "shape", "mean", "std")},
        "parameters": sum(weight.numel() for weight in trained.network.parameters()),
        "test_sha256": trained.manifest.test_sha256,
        "pretrained": {key: pretrained[key] for key in ("title", "licence", "sha256")} if pretrained else None,
        "commit": commit,
    }


def require_current() -> str:
    """The commit that describes models/trained by its dvc.lock, or "" if this dvc.lock is not committed yet.

    Raises DarkroomError unless models/trained is what the stage train makes of the present code, data and parameters.
    """
    lock.require_current_recipe(WORKSPACE)
    outs = {out["path"]: out.get("md5") for out in lock.stages(WORKSPACE)["train"].get("outs", ())}
    if digests.digest(WORKSPACE, TRAINED) != outs.get(TRAINED):
        raise DarkroomError(
            f"{TRAINED} is not what {lock.FILE} names: run `dvc checkout`, or `dvc repro train`, first."
        )
    try:
        head = revision.find("HEAD")
    except DarkroomError:  # there is no commit yet
        return ""
    return head.commit if head.read(lock.FILE) == WORKSPACE.read(lock.FILE) else ""


def table() -> str:
    """One line per teacher: name, networks, data set, test accuracy, parameters, size."""
    rows = [
        (
            one.name,
            str(one),
            one.dataset,
            f"{one.accuracy:.2%}",
            f"{one.parameters:,}",
            f"{sum(network.bytes for network in one.networks) / 1e6:.1f} MB",
        )
        for one in map(descriptions.load, descriptions.known())
    ]
    if not rows:
        return f"{FOLDER} holds no teachers: `python -m darkroom.teacher keep NAME` keeps models/trained as one."
    rows.insert(0, ("name", "network", "data set", "accuracy", "parameters", "size"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: exit code 1 if a teacher cannot be kept or read, 2 if the command is wrong."""
    parser = argparse.ArgumentParser(
        "python -m darkroom.teacher", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command")
    keeping = commands.add_parser("keep", help="keep models/trained as a teacher")
    keeping.add_argument("name", metavar="NAME", help="name of the folder in data/teachers")
    keeping.add_argument("--add", action="store_true", help="add the network to the teacher NAME, as an ensemble")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "keep":
            print(_kept(keep(chosen.name, chosen.add, require_current())))
        else:
            print(table())
    except (DarkroomError, OSError) as error:
        sys.exit(f"teacher: {error}")


def _kept(teacher: Teacher) -> str:
    size = counted(teacher.parameters, "parameter")
    return (
        f"{teacher.folder}: {teacher}, {size}, test accuracy {teacher.accuracy:.2%}\n"
        f"Git ignores its weights; track them with `dvc add {teacher.folder}`, then commit {teacher.folder}.dvc.\n"
        f"Train a student of it: `dvc exp run -S model.name=sprint -S train.distill.teacher={teacher.name}`"
    )


if __name__ == "__main__":
    main()
