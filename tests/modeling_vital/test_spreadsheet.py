"""No cell of ours is run as a formula, whoever writes it."""

import csv
import io

import pytest

from modeling_vital.cli.score_run import _report
from modeling_vital.cli.scoring import make_record
from modeling_vital.report_page import ReportPage, render_page
from modeling_vital.spreadsheet import CsvWriter, as_text


FORMULAS = ["=1+1", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("x")', "＝1", "－1"]  # noqa: RUF001


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_a_text(text):
    assert as_text(text) == f"'{text}"
    stream = io.StringIO(newline="")
    CsvWriter(stream).writerow([text, -0.5, None, "a=b", "x\r=y"])
    assert next(csv.reader(io.StringIO(stream.getvalue(), newline=""))) == [f"'{text}", "-0.5", "", "a=b", "x\r=y"]


@pytest.mark.parametrize("text", FORMULAS)
def test_the_command_line_escapes_and_has_a_switch(text):
    for format_, expected in (("csv", f"'{text}"), ("csv-raw", text)):
        stream = io.StringIO(newline="")
        report = _report(format_, stream)
        report.row(make_record(f"{text}.jpg", text))
        row = next(csv.DictReader(io.StringIO(stream.getvalue(), newline="")))
        assert (row["path"], row["error"]) == (f"{expected}.jpg", expected)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-2+3", "@SUM(A1)"])
def test_the_tables_of_the_report_hold_no_formula(text):
    rows = [{"path": f"{text}.png", "score": 0.5, "error": None, "tag": text, "level": text}]
    page = render_page(ReportPage([*rows, {"path": f"{text}2.png", "error": text}], "t", "m"))
    assert f">{text}" not in page and f"&#39;{text}.png" in page and f"&#39;{text}2.png" in page
