"""Review a change: what it did to the classifier, and whether the difference is real.

It reads the tracked files of both sides and needs neither data nor training.

exit codes:
  0  the two were compared
  1  the numbers of NEW were edited by hand, or what --fail-on names is the case
  2  they cannot be compared, or the command is wrong
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_text
from darkroom.review import lock, result, revision
from darkroom.review.compare import Review, as_json, compare


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m darkroom.review", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", metavar="OLD", help="the revision to compare with: a branch, a tag or a commit")
    parser.add_argument(
        "new", metavar="NEW", nargs="?", help="the revision under review (default: the workspace as it is)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    parser.add_argument("--html", metavar="FILE", help="also write an HTML page to FILE")
    parser.add_argument(
        "--fail-on",
        action="append",
        choices=("regression", "stale"),
        default=[],
        help="exit with code 1 if NEW is significantly worse (regression), or if its dvc.lock is not current (stale); "
        "can be given twice",
    )
    chosen = parser.parse_args(arguments)

    try:
        sides = (revision.find(chosen.old), revision.find(chosen.new) if chosen.new else revision.WORKSPACE)
        review = compare(*map(result.read, sides))
    except DarkroomError as error:
        refused = {"verdict": "not comparable", "reason": str(error)}
        _print(json.dumps(refused) if chosen.json else f"## Not comparable\n\n{error}")
        sys.exit(2)
    _report(review, chosen.json, chosen.html)
    sys.exit(_code(review, chosen.fail_on))


def _report(review: Review, as_json_text: bool, html: str | None) -> None:
    from darkroom.review import page

    _print(json.dumps(as_json(review), indent=2, ensure_ascii=False) if as_json_text else page.markdown(review))
    if html:
        try:
            write_text(html, page.html(review))
        except OSError as error:
            print(f"review: --html {html} cannot be written ({error.strerror}): choose another file.", file=sys.stderr)
            sys.exit(2)


def _code(review: Review, fail_on: Sequence[str]) -> int:
    stale = review.new.stale  # the old side is history: the review only warns
    edited = any(finding.kind in lock.EDITED for finding in stale)
    regression = "regression" in fail_on and review.verdict == "worse"
    return int(edited or regression or ("stale" in fail_on and bool(stale)))


def _print(text: str) -> None:
    """Print, without an error if the reader stops early, as in `| head`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python fails again when it exits


if __name__ == "__main__":
    main()
