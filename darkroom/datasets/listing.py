"""An image as listed by a folder or a manifest, and the names of splits, classes and groups that count as the same."""

import math
import re
import unicodedata
from collections.abc import Mapping
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any, NamedTuple

from darkroom.core.errors import DarkroomError

MANIFESTS = ("manifest.csv", "manifest.jsonl")  # names of manifests, in any case

_INVISIBLE = "\ufeff\u200b\u2060"  # byte order mark, zero-width space, word joiner
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?")
_UNLABELLED = ("unlabelled", "unlabeled")
_OUT_OF_SCOPE = ("oos", "outofscope", "ood", "outofdomain")
_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


class Listed(NamedTuple):
    """An image as listed by a folder or a manifest."""

    path: str  # relative to the dataset's folder, with "/"
    label: str  # "" if it is unlabelled; then the split is UNLABELLED
    split: str = ""
    group: str = ""
    columns: str = ""  # the other columns of a manifest, as a JSON object of texts; "" if there are none


def split_named(name: str) -> str:
    """The split that a name means, in any case; an empty string if it means none."""
    word = stripped(name).casefold()
    return next((split for split, names in _SPLITS.items() if word in names), "")


def means_unlabelled(name: str) -> bool:
    """Whether a folder or split of this name, in any case, holds images without a label."""
    return stripped(name).casefold() in _UNLABELLED


def means_out_of_scope(name: str) -> bool:
    """Whether a label or file of this name, in any case, holds examples of none of the classes."""
    return re.sub(r"[\W_]+", "", name.casefold()) in _OUT_OF_SCOPE


def holds_no_class(folder: str) -> bool:
    """Whether a folder of this name holds examples without a label, or of none of the classes."""
    return means_unlabelled(folder) or means_out_of_scope(folder)


def is_absent(value: Any) -> bool:
    """Whether a value of JSON stands for none: null, or NaN as pandas writes it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8, as half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_unicode(values: Mapping[str, str], where: str) -> None:
    """Raise DarkroomError that begins with `where` if a name or a value cannot be written as UTF-8."""
    for name, value in values.items():
        if not is_unicode(f"{name}{value}"):
            shown = f"{name}: {value}".encode(errors="backslashreplace").decode()
            raise DarkroomError(f"{where}: {shown!r} is not valid Unicode: correct it.")


def stripped(text: str) -> str:
    """The text without blanks and invisible characters at its ends."""
    return re.sub(rf"^[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+$", "", text)


def key(name: str) -> str:
    """A text that is equal for names that differ only in case, blanks, number format (0, 0.0) or Unicode form."""
    visible = "".join(character for character in name if character not in _INVISIBLE)
    plain = " ".join(unicodedata.normalize("NFC", visible).casefold().split())
    if not _NUMBER.fullmatch(plain):
        return plain
    try:
        number = Decimal(plain).normalize(Context(prec=len(plain), Emax=MAX_EMAX, Emin=MIN_EMIN))  # without rounding
    except ArithmeticError:  # the exponent is too large
        return plain
    return str(number) if number else "0"
