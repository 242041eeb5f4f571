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

FAILURES = ("regression", "class-regression", "slice-regression", "stale")


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
        choices=FAILURES,
        default=[],
        help="exit with code 1 if the recipe of NEW is significantly worse (regression), if a class or a slice is "
        "(class-regression, slice-regression), or if its dvc.lock is not current (stale); can be given several times",
    )
    parser.add_argument(
        "--margin",
        metavar="POINTS",
        type=_margin,
        default=0.0,
        help="with --fail-on regression: tolerate a loss of up to POINTS percentage points of accuracy, 0 to 100; fail "
        "if it is significantly larger (default: 0)",
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
    sys.exit(_code(review, chosen.fail_on, chosen.margin))


def _report(review: Review, as_json_text: bool, html: str | None) -> None:
    from darkroom.review import page

    _print(json.dumps(as_json(review), indent=2, ensure_ascii=False) if as_json_text else page.markdown(review))
    if html:
        try:
            write_text(html, page.html(review))
        except OSError as error:
            print(f"review: --html {html} cannot be written ({error.strerror}): choose another file.", file=sys.stderr)
            sys.exit(2)


def _code(review: Review, fail_on: Sequence[str], margin: float) -> int:
    stale = review.new.stale  # the old side is history: the review only warns
    failures = {
        "regression": review.recipe_verdict == "worse" and 100 * review.recipe.high < -margin,
        "class-regression": len(review.worse["classes"]) > 0,
        "slice-regression": len(review.worse["slices"]) > 0,
        "stale": bool(stale),
    }
    edited = any(finding.kind in lock.EDITED for finding in stale)
    return int(edited or any(failures[name] for name in fail_on))


def _margin(text: str) -> float:
    try:
        points = float(text)
    except ValueError:
        points = -1.0
    if not 0 <= points <= 100:  # nor NaN
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of percentage points from 0 to 100")
    return points


def _print(text: str) -> None:
    """Print, without an error if the reader stops early, as in `| head`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python fails again when it exits


if __name__ == "__main__":
    main()
