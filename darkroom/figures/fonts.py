"""Fonts for texts in any script: matplotlib's own font has no Chinese, Japanese, Korean or Indic letters.

Fonts are looked for only if a text needs them. Where the texts are Latin, figures do not depend on installed fonts.
Letters that no font has are written in ASCII (transliteration.py), so that the names of classes can still be told.
"""

import logging
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from darkroom.figures.transliteration import readable

# Packages of Debian and Ubuntu by the first word of a character's Unicode name; "" is for other letters.
PACKAGES = {
    **dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH"), "fonts-noto-cjk"),
    "symbol": "fonts-symbola",
    "": "fonts-noto-core",
}

_LOGGER = logging.getLogger("matplotlib.font_manager")
_named: set[str] = set()  # packages that this process has named


@contextmanager
def complete(figure: Figure) -> Iterator[None]:
    """Draw the figure inside: each text that needs it gets fallback fonts with its characters.

    Characters that no installed font has are written in ASCII; the package to install is printed once.
    """
    needed = {text: _lacking(text) for text in _texts(figure) if not text.get_text().isascii()}
    lacking = frozenset().union(*needed.values())
    if lacking:
        families, without = fallbacks(lacking, _installed())
        for text in (text for text, characters in needed.items() if characters):
            text.set_fontfamily([*text.get_fontfamily(), *families])
        if without:
            _write_in_ascii(figure, without)
            _report(without)
    level = _LOGGER.level
    _LOGGER.setLevel(logging.ERROR)  # not a line for each weight that a fallback font does not have
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
            yield
    finally:
        _LOGGER.setLevel(level)


def fallbacks(characters: frozenset[str], entries: Iterable[FontEntry]) -> tuple[list[str], set[str]]:
    """The fewest families of `entries` that have most of the characters, and the characters that none of them has.

    Of families with as many characters, sans-serif ones come first.
    """
    found: dict[str, set[str]] = {}
    for entry in entries:
        font = FT2Font(entry.fname, face_index=entry.index)
        found.setdefault(entry.name, set()).update(c for c in characters if font.get_char_index(ord(c)))
    order = sorted(found, key=lambda name: ("Sans" not in name, name))
    families, left = [], set(characters)
    while left and order:
        best = max(order, key=lambda name: len(found[name] & left))
        if not found[best] & left:
            break
        families.append(best)
        left -= found[best]
    return families, left


def _texts(artist: Artist) -> Iterator[Text]:
    """The texts in an artist. Axes that are switched off make ticks only if asked for them, which takes long."""
    if isinstance(artist, Text):
        yield artist
    is_off = isinstance(artist, Axes) and not artist.axison
    for child in artist.get_children():
        if not (is_off and isinstance(child, Axis)):
            yield from _texts(child)


def _lacking(text: Text) -> set[str]:
    """The characters of a text that its font does not have; invisible ones do not count."""
    path = fontManager.findfont(text.get_fontproperties())
    visible = {c for c in text.get_text() if unicodedata.category(c) not in ("Cc", "Cf", "Mn", "Zs")}
    return {c for c in visible if ord(c) not in _characters(path)}


@cache
def _characters(path: str) -> frozenset[int]:
    return frozenset(FT2Font(path).get_charmap())


def _installed() -> list[FontEntry]:
    """All scalable fonts, also those that were installed after matplotlib made its list."""
    known = {entry.fname for entry in fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        try:
            fontManager.addfont(path)
        except (OSError, RuntimeError, NotImplementedError):  # damaged, or made of bitmaps
            continue
    return [entry for entry in fontManager.ttflist if "LastResort" not in entry.fname]  # has boxes for all characters


def _write_in_ascii(figure: Figure, lacking: set[str]) -> None:
    """Change the texts of the figure that have characters of `lacking`."""
    texts = figure.findobj(Text)
    found = readable((text.get_text() for text in texts), lacking)
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        names = [label.get_text() for label in axis.get_ticklabels()]
        if found.keys() & set(names):  # an axis writes its labels anew when it is drawn
            axis.set_ticklabels([found.get(name, name) for name in names])
    for text in texts:
        text.set_text(found.get(text.get_text(), text.get_text()))


def _report(characters: Iterable[str]) -> None:
    """Name what to install for the characters that no font has."""
    by_package: dict[str, list[str]] = {}
    for character in sorted(characters):
        is_symbol = unicodedata.category(character) == "So"  # also emoji
        script = "symbol" if is_symbol else unicodedata.name(character, "").split(" ")[0].split("-")[0]
        by_package.setdefault(PACKAGES.get(script, PACKAGES[""]), []).append(character)
    for package, found in by_package.items():
        if package not in _named:
            _named.add(package)
            print(
                f"warning: no installed font has {''.join(found[:10])!r}: figures write them in Latin letters. Install "
                f"a font that has such characters; on Debian and Ubuntu: {package}",
                file=sys.stderr,
            )
