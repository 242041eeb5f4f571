import numpy as np

from darkroom.explain import table_page
from darkroom.explain.table_page import Example


def example(**changes: object) -> Example:
    given = {
        "kind": "uncertain",
        "id": "a/1",
        "label": "no",
        "predicted": "yes",
        "confidence": 0.6,
        "values": ["3", ""],
        "contributions": np.array([0.5, -1.0]),
    }
    return Example(**(given | changes))


def test_the_strongest_column_comes_first_and_a_missing_value_is_named():
    page = table_page.html(["age", "job"], [example()], ["note"])
    assert page.index("job") < page.index("age") and "(missing)" in page and "-1.00" in page and "+0.50" in page
    assert table_page.OPPOSES in page and table_page.SUPPORTS in page and "note" in page


def test_names_and_values_are_escaped():
    page = table_page.html(["<b>"], [example(values=["<i>"], contributions=np.ones(1), id="<u>")], ["<s>"])
    assert not any(tag in page for tag in ("<b>", "<i>", "<u>", "<s>"))


def test_only_the_strongest_columns_are_shown():
    count = table_page.REASONS + 5
    values, contributions = ["1"] * count, np.arange(count, dtype=float)
    page = table_page.html([f"c{n}" for n in range(count)], [example(values=values, contributions=contributions)], [])
    assert page.count('class="bar"') == table_page.REASONS


def test_rows_without_any_contribution_are_drawn():
    assert "+0.00" in table_page.html(["a", "b"], [example(contributions=np.zeros(2))], [])
