import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from PIL import Image

from darkroom.figures import drawing, fonts, transliteration

OWN = Path(matplotlib.get_data_path(), "fonts/ttf")  # the fonts that matplotlib brings


@pytest.fixture(autouse=True)
def _own_fonts_only(monkeypatch: pytest.MonkeyPatch):
    own = [entry for entry in fontManager.ttflist if Path(entry.fname).parent == OWN]
    monkeypatch.setattr(fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    monkeypatch.setattr(fonts, "_named", set())
    fontManager._findfont_cached.cache_clear()
    yield
    fontManager._findfont_cached.cache_clear()


def draw(path: Path, *texts: str, **style: object) -> Figure:
    figure = Figure(figsize=(2, 1), dpi=100)
    for number, text in enumerate(texts):
        figure.text(0.1, 0.8 - 0.3 * number, text, parse_math=False, **style)
    drawing.save(figure, path)
    return figure


def families(figure: Figure) -> list[list[str]]:
    return [text.get_fontfamily() for text in figure.texts]


def test_no_font_is_looked_for_if_the_texts_do_not_need_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fonts, "_installed", None)  # calling it fails
    assert families(draw(tmp_path / "a.png", "cat", "→ naïve Łódź…", "кот")) == [["sans-serif"]] * 3


def test_text_gets_a_font_that_has_its_characters(tmp_path: Path, capsys: pytest.CaptureFixture):
    figure = draw(tmp_path / "a.png", "кот cat", "cat", family=["cmr10"])
    assert families(figure) == [["cmr10", "DejaVu Sans"], ["cmr10"]]
    assert capsys.readouterr().err == ""
    alone = draw(tmp_path / "b.png", "кот", family=["DejaVu Sans"])
    mixed = draw(tmp_path / "c.png", "кот", family=["cmr10"])
    assert families(mixed) == [["cmr10", *families(alone)[0]]]
    assert np.array_equal(*(np.asarray(Image.open(tmp_path / name)) for name in ("b.png", "c.png")))


def test_font_of_tick_labels_is_completed(tmp_path: Path):
    figure = Figure(figsize=(2, 1), dpi=100)
    axes = figure.add_axes((0.5, 0.1, 0.4, 0.8))
    axes.set_yticks([0, 1], ["cat", "кот"], family=["cmr10"])
    drawing.save(figure, tmp_path / "a.png")
    assert [label.get_fontfamily() for label in axes.get_yticklabels()] == [["cmr10"], ["cmr10", "DejaVu Sans"]]


def test_missing_font_is_named_once_without_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture):
    draw(tmp_path / "a.png", "猫", "고양이 ねこ")
    draw(tmp_path / "a.png", "犬", weight="bold")
    (line,) = capsys.readouterr().err.splitlines()
    assert "猫" in line and "fonts-noto-cjk" in line
    draw(tmp_path / "a.png", "बिल्ली", "\U0001f9a5")
    first, second = sorted(capsys.readouterr().err.splitlines(), key=lambda line: "symbola" in line)
    assert "fonts-noto-core" in first and "fonts-symbola" in second


def test_letters_that_no_font_has_are_written_in_ascii(tmp_path: Path):
    figure = draw(tmp_path / "a.png", "挂失 → 查询", "cat 猫", "кот")
    assert [text.get_text() for text in figure.texts] == ["GuaShi → ChaXun", "cat Mao", "кот"]
    axes = figure.add_axes((0.5, 0.1, 0.4, 0.8))
    axes.set_yticks([0, 1], ["挂失", "cat"])
    drawing.save(figure, tmp_path / "a.png")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["GuaShi", "cat"]


def test_names_with_the_same_sound_stay_different():
    found = transliteration.readable(["他", "她", "它 1", "Ta", "cat"], "他她它")
    assert found == {"他": "U+4ED6", "她": "U+5979", "它 1": "Ta 1"}
    assert transliteration.readable(["カード", "\ue000"], "カード\ue000") == {"カード": "kado", "\ue000": "U+E000"}
    assert transliteration.readable(["cat"], "猫") == {}


def test_invisible_characters_need_no_font(tmp_path: Path, capsys: pytest.CaptureFixture):
    draw(tmp_path / "a.png", "cat\u200d\ufe0f\u00a0cat")
    assert capsys.readouterr().err == ""


def test_fewest_families_cover_the_characters():
    entries = [entry for entry in fontManager.ttflist if entry.name in ("cmr10", "DejaVu Sans", "DejaVu Serif")]
    assert fonts.fallbacks(frozenset("aжλ"), entries) == (["DejaVu Sans"], set())
    assert fonts.fallbacks(frozenset("a猫"), entries) == (["DejaVu Sans"], {"猫"})
    assert fonts.fallbacks(frozenset("猫"), entries) == ([], {"猫"})
    assert fonts.fallbacks(frozenset("ж"), []) == ([], {"ж"})


def test_fonts_installed_since_are_found_and_damaged_ones_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    new, damaged = tmp_path / "new.ttf", tmp_path / "damaged.ttf"
    shutil.copy(OWN / "DejaVuSans.ttf", new)
    damaged.write_bytes(b"no font")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(damaged), str(new)])
    found = {entry.fname for entry in fonts._installed()}
    assert str(new) in found and str(damaged) not in found
