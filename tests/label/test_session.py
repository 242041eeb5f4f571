from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkroom.label.examples import Chosen, Example
from darkroom.label.journal import Journal, NotSaved
from darkroom.label.session import OutOfTurn, Session, UnknownClass, key

PRESENT = {"a": "cat"}


def session(folder: Path, by: str = "anna", ids: str = "abc", second: bool = False) -> Session:
    journal = Journal(folder, folder / "toy.lock", by)
    chosen = Chosen([Example(one) for one in ids], "a test")
    return Session(journal, chosen, ("cat", "dog"), lambda example: PRESENT.get(example, ""), second)


def shown(state: dict) -> str | None:
    names = {key(one): one for one in "abcdefgh"}
    return state["example"] and names[state["example"]["key"]]


def test_examples_come_in_order_and_the_next_is_known(tmp_path: Path):
    opened = session(tmp_path)
    state = opened.state()
    assert (shown(state), state["next"], state["done"], state["total"]) == ("a", key("b"), 0, 3)
    state = opened.answer(state["turn"], "cat")
    assert (shown(state), state["done"]) == ("b", 1)
    state = opened.answer(opened.answer(state["turn"], "")["turn"], "dog")
    assert (state["example"], state["next"], state["done"]) == (None, None, 3)
    with pytest.raises(OutOfTurn):
        opened.answer(state["turn"], "dog")


def test_the_present_label_is_told_only_after_the_answer(tmp_path: Path):
    opened = session(tmp_path)
    state = opened.state()
    assert "cat" not in str(state)
    state = opened.answer(state["turn"], "dog")
    assert state["last"] == {"id": "a", "label": "dog", "present": "cat"}


def test_two_windows_cannot_answer_one_example(tmp_path: Path):
    opened = session(tmp_path)
    turn = opened.state()["turn"]
    opened.answer(turn, "cat")
    for action in (lambda: opened.answer(turn, "dog"), lambda: opened.skip(turn), lambda: opened.undo(turn)):
        with pytest.raises(OutOfTurn):
            action()
    assert opened.opinions == {"a": {"anna": "cat"}}


def test_a_new_class_is_refused_and_a_misspelt_one_suggested(tmp_path: Path):
    opened = session(tmp_path)
    with pytest.raises(UnknownClass, match="Did you mean dog"):
        opened.answer(opened.turn, "dogs")
    with pytest.raises(UnknownClass, match="“horse”"):
        opened.answer(opened.turn, "horse")
    assert shown(opened.state()) == "a" and not opened.journal.path.exists()


def test_skipped_examples_come_last(tmp_path: Path):
    opened = session(tmp_path)
    state = opened.skip(opened.turn)
    assert (shown(state), state["skipped"], state["last"]["label"]) == ("b", 1, None)
    state = opened.answer(opened.answer(state["turn"], "cat")["turn"], "cat")
    assert (shown(state), state["example"]["skipped"]) == ("a", True)


def test_answers_of_an_earlier_session_are_done_and_can_be_undone(tmp_path: Path):
    first = session(tmp_path)
    first.answer(first.turn, "cat"), first.answer(first.turn, "dog")
    first.journal.close()
    again = session(tmp_path)
    assert shown(again.state()) == "c"
    assert shown(again.undo(again.turn)) == "b"
    assert shown(again.undo(again.turn)) == "a"
    with pytest.raises(OutOfTurn):
        again.undo(again.turn)


def test_a_label_that_an_answer_gave_is_done_after_a_second_answer(tmp_path: Path):
    first = session(tmp_path)
    first.answer(first.answer(first.state()["turn"], "cat")["turn"], "cat")
    first.journal.close()
    doubted = Chosen([Example("a", answers=2), Example("b")], "suspects")
    journal = Journal(tmp_path, tmp_path / "toy.lock", "anna")
    second = Session(journal, doubted, ("cat", "dog"), PRESENT.get, second=False)
    assert (shown(second.state()), second.state()["done"]) == ("a", 1)
    state = second.answer(second.state()["turn"], "dog")
    assert state["done"] == 2
    state = second.undo(second.undo(state["turn"])["turn"])
    assert (shown(state), state["done"], [row.id for row in journal.rows]) == ("b", 0, ["a"])
    with pytest.raises(OutOfTurn, match="nothing to undo"):
        second.undo(state["turn"])


def test_others_see_what_nobody_has_labelled_or_give_second_opinions(tmp_path: Path):
    first = session(tmp_path)
    first.answer(first.turn, "cat")
    first.journal.close()
    other = session(tmp_path, "ben")
    assert shown(other.state()) == "b" and other.state()["last"] is None
    other.journal.close()
    second = session(tmp_path, "ben", "a", second=True)
    assert shown(second.state()) == "a"
    second.answer(second.turn, "dog")
    assert second.agreement() == [{"one": "anna", "other": "ben", "examples": 1, "agreed": 0, "kappa": 0.0}]


def test_an_answer_that_is_not_saved_changes_nothing(tmp_path: Path):
    opened = session(tmp_path)
    opened.answer(opened.turn, "cat")
    opened.journal.path.write_text("")
    before = opened.state()
    with pytest.raises(NotSaved):
        opened.answer(opened.turn, "dog")
    with pytest.raises(NotSaved):
        opened.undo(opened.turn)
    assert opened.state() == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["cat", "dog", "", "skip", "undo", "restart"]), max_size=25))
def test_any_actions_keep_progress_and_file_equal(tmp_path: Path, actions: list[str]):
    (tmp_path / "labels.csv").unlink(missing_ok=True)
    opened, expected = session(tmp_path, ids="abcd"), []
    for action in actions:
        present = shown(opened.state())
        if action == "restart":
            opened.journal.close()
            opened = session(tmp_path, ids="abcd")
        elif action == "undo":
            if (last := opened.state()["last"]) is not None:
                assert shown(opened.undo(opened.turn)) == last["id"]
                if last["label"] is not None:
                    expected.pop()
        elif present:
            if action == "skip":
                opened.skip(opened.turn)
            else:
                opened.answer(opened.turn, action)
                expected.append((present, action))
        assert [row[:2] for row in opened.journal.rows] == expected
        assert opened.state()["done"] == len(expected)
    opened.journal.close()
