"""The measures behind docs/where-is-it-bad.md, by hand."""

from pathlib import Path

import numpy as np
import pytest

from training.suite.known_damage import BEGIN, END, auc, iou, main, table


def test_auc_by_hand():
    values = np.array([[0.1, 0.9], [0.5, 0.5]])
    # bad 0.1 and 0.5 against sound 0.9 and 0.5: lower, lower, lower, tie
    assert auc(values, np.array([[True, False], [True, False]])) == pytest.approx(3.5 / 4)
    assert auc(values, np.array([[False, True], [False, False]])) == 0


def test_iou_by_hand():
    values = np.arange(8).reshape(2, 4) / 8
    bad = np.array(
        [[True, True, False, False], [False, True, True, False]]
    )  # values 0 1 5 6; the four lowest: 0 1 2 3
    assert iou(values, bad) == pytest.approx(2 / 6)


def test_table():
    assert table(("a", "b"), iter([("x", "1")])) == "| a | b |\n|---|---|\n| x | 1 |\n"


def test_the_page_has_tables_and_a_page_without_markers_is_refused(tmp_path):
    text = Path("docs/where-is-it-bad.md").read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0].count("\n| ") > 10
    (tmp_path / "page.md").write_text("no markers")
    with pytest.raises(SystemExit):
        main([str(tmp_path / "page.md")])
