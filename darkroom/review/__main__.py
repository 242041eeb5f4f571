"""The review of a change: what it did to the classifier, and whether that is real."""

import argparse
import json
import os
import sys

from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_text
from darkroom.review import page, result, revision
from darkroom.review.compare import as_json, compare


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m darkroom.review", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", help="the revision to compare with: a branch, a tag, a commit")
    parser.add_argument("new", nargs="?", help="the revision that is reviewed (default: the workspace as it stands)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    parser.add_argument("--html", metavar="FILE", help="write one page to a file too")
    parser.add_argument(
        "--fail-on",
        action="append",
        choices=("regression", "stale"),
        default=[],
        help="end with code 1 where the new one is worse, or where its dvc.lock is not of its files; may be given twice. "
        "Always with 1 where its numbers were edited, with 2 where the two cannot be compared, as where numbers contradict each other",
    )
    chosen = parser.parse_args()

    try:
        sides = (revision.find(chosen.old), revision.find(chosen.new) if chosen.new else revision.WORKSPACE)
        review = compare(*map(result.read, sides))
    except DarkroomError as error:
        _print(
            json.dumps({"verdict": "not comparable", "reason": str(error)})
            if chosen.json
            else f"## Not comparable\n\n{error}"
        )
        sys.exit(2)
    _print(json.dumps(as_json(review), indent=2, ensure_ascii=False) if chosen.json else page.markdown(review))
    if chosen.html:
        write_text(chosen.html, page.html(review))
    stale = review.stale.get(review.new.revision.name, ())  # the old one is as it is: the review warns of it
    edited = any(" left " in said for said in stale)  # what a stage left is not what is there
    sys.exit(
        int(
            edited
            or ("regression" in chosen.fail_on and review.verdict == "worse")
            or ("stale" in chosen.fail_on and bool(stale))
        )
    )


def _print(text: str) -> None:
    """Prints, and goes on where nobody reads any further, as in `| head`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python fails once more when it ends


if __name__ == "__main__":
    main()
