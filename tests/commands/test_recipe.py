import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from darkroom import recipe, schema
from darkroom.core import params
from darkroom.core.errors import DarkroomError

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
NAMES = sorted(recipe.available(ROOT / "recipes"))


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with params.yaml and one recipe, as the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TEXT, encoding="utf-8")
    Path("recipes").mkdir()
    Path("recipes/quick.yaml").write_text("# Half an epoch\n# Its second line\ntrain:\n  epochs: 5e-1  # not copied\n")
    return tmp_path


def put(changes: str, text: str = TEXT) -> str:
    """The text of a params.yaml, `text`, after a recipe with the text `changes`."""
    Path("params.yaml").write_bytes(text.encode())
    Path("recipes/new.yaml").write_bytes(changes.encode())
    return recipe.applied(Path("recipes/new.yaml"))


def own(name: str) -> str:
    """The text of the project's recipe `name`."""
    return (ROOT / f"recipes/{name}.yaml").read_text(encoding="utf-8")


def in_turn(*names: str) -> str:
    """The project's params.yaml after its own recipes `names`, one after another."""
    text = TEXT
    for name in names:
        text = put(own(name), text)
    return text


def valid(text: str) -> schema.Params:
    """The checked parameters of that text."""
    return schema.check(yaml.load(text, params.Loader))


def values_of(text: str) -> dict[str, object]:
    """The parameters in a YAML text, by dotted key."""

    def walk(value: object, key: str) -> dict[str, object]:
        if not isinstance(value, dict):
            return {key: value}
        return {
            leaf: found
            for name, inner in value.items()
            for leaf, found in walk(inner, f"{key}.{name}".lstrip(".")).items()
        }

    return walk(yaml.load(text, params.Loader), "")


# The project's own recipes


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_changes_only_what_it_names(name: str):
    wanted = values_of(own(name))
    text = in_turn(name)
    valid(text)
    assert values_of(text) == values_of(TEXT) | wanted
    assert re.findall("#.*", text) == re.findall("#.*", TEXT)


@pytest.mark.parametrize("name", NAMES)
def test_default_undoes_every_recipe_byte_for_byte(name: str):
    """params.yaml holds the default recipe: a change of one needs the same change of the other."""
    assert in_turn(name, "default") == TEXT


@pytest.mark.parametrize("name", NAMES)
def test_default_names_every_parameter_that_a_recipe_names(name: str):
    assert values_of(own(name)).keys() <= values_of(own("default")).keys()


@pytest.mark.parametrize(("earlier", "name"), list(itertools.permutations(NAMES, 2)))
def test_what_a_recipe_trains_does_not_depend_on_an_earlier_one(earlier: str, name: str):
    direct, later = valid(in_turn(name)), valid(in_turn(earlier, name))
    assert later.train == direct.train
    assert later.preprocess == direct.preprocess
    assert (later.model.name, later.model.pretrained) == (direct.model.name, direct.model.pretrained)
    assert later.model.arguments() == direct.model.arguments()


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_it_costs_and_reaches(name: str):
    comment = re.findall("^# ?(.*)", own(name), re.MULTILINE)
    assert comment[0]
    assert f"python -m darkroom.recipe {name} && dvc repro" in "\n".join(comment)
    assert {"command", "time", "accuracy", "hardware"} <= {line.split(" ")[0] for line in comment}


# The text


def test_numbers_are_written_as_the_recipe_writes_them():
    assert "\n  lr: 1e-4 " in put("train: {lr: 1e-4}")
    assert valid(put("train: {lr: 1e-4}")).train.lr == 1e-4


def test_a_comment_keeps_its_column_and_gives_way_to_a_long_value():
    text = "seed: 1     # first\n" + TEXT.partition("\n\n")[2].partition("\n")[2]
    assert put("seed: 1234", text).startswith("seed: 1234  # first\n")
    assert put("seed: 12345", text).startswith("seed: 12345 # first\n")
    assert put("seed: 1234567", text).startswith("seed: 1234567 # first\n")


def test_quotes_underscores_and_blank_lines_are_kept():
    text = TEXT.replace("name: resnet ", 'name: "resnet" ').replace(
        "max_pixels: 100_000_000", "max_pixels: 6_000_000\n\n"
    )
    changed = put("seed: 7", text)
    assert changed == re.sub("seed: 42", "seed: 7 ", text)
    assert put("preprocess: {max_pixels: 100_000_000}", changed).count("max_pixels: 100_000_000\n") == 1


@settings(max_examples=25, deadline=None)
@given(name=st.from_regex("[a-z][a-z_]{0,59}", fullmatch=True))
@example(name="a" * 60)
def test_values_of_any_length_are_written(name: str):
    changed = put(f"train: {{label_smoothing: 0.123456}}\ndata: {{dataset: {name}}}")
    assert (valid(changed).data.dataset, valid(changed).train.label_smoothing) == (name, 0.123456)
    before = valid(TEXT)
    restored = put(
        f"train: {{label_smoothing: {before.train.label_smoothing}}}\ndata: {{dataset: {before.data.dataset}}}", changed
    )
    assert " ".join(restored.split()) == " ".join(TEXT.split())
    if len(name) <= 18:  # characters between `  dataset: ` and the column of the comments
        assert restored == TEXT


def test_line_ends_are_kept():
    text = TEXT.replace("\n", "\r\n")
    assert put("train:\n  epochs: 77\n", text) == put("train:\n  epochs: 77\n").replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ("train: {lrr: 1}", r"over params.yaml: train.lrr .* train.lr\?"),
        ("train: {lr: -1.0}", r"over params.yaml: train.lr = -1.0"),
        ("train: 3", r"over params.yaml: train = 3"),
        ("train.lr: 0.1", r"over params.yaml: train.lr "),
        ("7: 0.1", r"over params.yaml: .*7"),
        ("# nothing but a comment", r"None"),
        ("train: {lr: 0.1, lr: 0.2}", r"'lr' is given twice"),
        ("train: [", r"not valid YAML"),
        ("seed: !!python/object/apply:os.getpid []", r"not valid YAML"),
        ("data: {dataset: &a name}\ntrain: {optimizer: *a}", r"over params.yaml: train.optimizer = 'name'"),
    ],
)
def test_an_invalid_recipe_is_rejected(changes: str, fact: str):
    with pytest.raises(DarkroomError, match=f"^recipes/new.yaml.*{fact}"):
        put(changes)


def test_an_invalid_params_file_is_rejected():
    with pytest.raises(DarkroomError, match=r"^params.yaml: sead"):
        put("seed: 5", TEXT + "\nsead: 5\n")


def test_a_value_that_two_sections_share_is_not_changed():
    """In sections with a common anchor, a change of one would change the other."""
    section = r"\n    channels: .*\n    dropout: .*"
    text = re.sub(rf"  resnet:{section}", "  resnet: *a", re.sub("  sprint:(?=\n)", "  sprint: &a", TEXT))
    assert values_of(put("seed: 5", text)) == values_of(text) | {"seed": 5}
    with pytest.raises(DarkroomError, match=r"recipes/new.yaml cannot be merged"):
        put("model: {sprint: {channels: 8}}", text)


# The command


def test_without_a_name_the_recipes_are_listed(capsys: pytest.CaptureFixture):
    Path("recipes/a.yaml").write_text("# One")
    recipe.main([])
    assert capsys.readouterr().out == "a      One\nquick  Half an epoch\n"


def test_the_difference_is_shown_and_written(capsys: pytest.CaptureFixture):
    recipe.main(["quick"])
    text = Path("params.yaml").read_text(encoding="utf-8")
    assert valid(text).train.epochs == 0.5
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith(("-  ", "+  "))] == [
        f"{sign}{line}"
        for sign, old in (("-", TEXT), ("+", text))
        for line in old.splitlines()
        if line.startswith("  epochs: ")
    ]
    assert "\x1b" not in out and "dvc repro" in out
    recipe.main(["quick"])
    assert "nothing changed" in capsys.readouterr().out
    assert Path("params.yaml").read_text(encoding="utf-8") == text


def test_a_terminal_gets_colours(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    recipe.main(["quick"])
    assert "\n\x1b[32m+  epochs: 5e-1 " in capsys.readouterr().out


def test_a_dry_run_writes_nothing(capsys: pytest.CaptureFixture):
    recipe.main(["quick", "--dry-run"])
    assert "+  epochs: 5e-1" in capsys.readouterr().out
    assert Path("params.yaml").read_text(encoding="utf-8") == TEXT


@pytest.mark.parametrize(("name", "hint"), [("quik", "did you mean quick?"), ("../params", "known: quick")])
def test_an_unknown_name_is_rejected(capsys: pytest.CaptureFixture, name: str, hint: str):
    with pytest.raises(SystemExit, match=r"^2$"):
        recipe.main([name])
    printed = capsys.readouterr().err
    assert repr(name) in printed and hint in printed


def test_a_recipe_that_is_no_longer_valid_changes_nothing():
    Path("recipes/old.yaml").write_text("train:\n  learning_rate: 0.1\n")
    done = subprocess.run(
        [sys.executable, "-m", "darkroom.recipe", "old"], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("recipe: recipes/old.yaml over params.yaml: train.learning_rate ")
    assert done.stderr.count("\n") == 1
    assert Path("params.yaml").read_text(encoding="utf-8") == TEXT


def test_a_missing_file_is_named():
    Path("params.yaml").unlink()
    with pytest.raises(SystemExit, match=r"params.yaml is missing"):
        recipe.main(["quick"])
    Path("recipes/quick.yaml").unlink()
    with pytest.raises(SystemExit, match="recipes holds no recipes"):
        recipe.main([])


def test_a_full_disk_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("darkroom.core.outputs.os.replace", full)
    with pytest.raises(SystemExit, match=r"params.yaml is unchanged .*No space left on device"):
        recipe.main(["quick"])
    assert Path("params.yaml").read_text(encoding="utf-8") == TEXT
    assert sorted(path.name for path in Path().iterdir()) == ["params.yaml", "recipes"]
