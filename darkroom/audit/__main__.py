"""Write the data audit: one HTML page about the data that needs no network.

It shows class balance, sizes and brightness of images or lengths and scripts of texts, drift between the splits,
samples, problems such as leaked examples, near duplicates, and labels that are probably wrong. Run it after `dvc repro
preprocess`. Suspect labels need `dvc repro` (test set) or `python -m darkroom.crossval` (training set).
"""

import argparse
import sys

from darkroom.audit import page, texts
from darkroom.audit.data import read
from darkroom.core import arrays
from darkroom.core.arrays import Manifest
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_text
from darkroom.core.spelling import NOUNS, plural

KINDS = {"image": page, "text": texts}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m darkroom.audit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", default="data/audit.html", metavar="FILE", help="HTML file to write (default: %(default)s)"
    )
    output = parser.parse_args().output
    try:
        _require_shown(arrays.read_manifest("data/arrays"))
        data = read()
        if data.notice:
            print(f"audit: {data.notice}", file=sys.stderr)
        write_text(output, KINDS[data.manifest.kind].render(data))
    except (DarkroomError, OSError) as error:
        sys.exit(f"audit: {error}")
    print(f"wrote {output}: open it in a browser; it needs no network")


def _require_shown(manifest: Manifest) -> None:
    if manifest.kind not in KINDS:
        raise DarkroomError(
            f"the audit shows images and texts, and {manifest.title} has {plural(NOUNS[manifest.kind])}: metrics/data "
            "has what `dvc repro preprocess` found in them."
        )


if __name__ == "__main__":
    main()
