"""The page is that of the recorded runs, and these are of the recipe."""

import json
from dataclasses import asdict
from pathlib import Path

from modeling_vital.finished_parts import differing
from training.experiment.__main__ import Experiment, is_finished
from training.experiment.analysis import ANALYSIS, ITEMS, digest
from training.experiment.claims import CLAIMS
from training.experiment.page import render


RESULTS = Path("training/results/tiny_experiment")
RECIPE = Path("training/recipes/tiny_experiment.yaml")
PAGE = Path("docs/experiment.md")


def test_the_page_is_current():
    plan = Experiment.load(RECIPE).plan()
    analysis = json.loads((RESULTS / ANALYSIS).read_text(encoding="utf-8"))
    items = json.loads((RESULTS / ITEMS).read_text(encoding="utf-8"))
    assert differing(items["family"], asdict(Experiment.load(RECIPE).family)) == []
    files = {"items": RESULTS / ITEMS}
    files |= {path.stem: path for path in RESULTS.glob("*.json") if path.name not in (ITEMS, ANALYSIS)}
    assert analysis["digests"] == {name: digest(path) for name, path in files.items()}
    assert {run.name for run in plan if is_finished(run, RESULTS)} == files.keys() - {"items"}
    assert PAGE.read_text(encoding="utf-8") == render(plan, analysis, items)
    assert (PAGE.parent / "experiment-srcc.svg").stat().st_size > 1000


def test_the_page_has_every_claim_and_says_what_is_missing():
    plan = Experiment.load(RECIPE).plan()
    items = json.loads((RESULTS / ITEMS).read_text(encoding="utf-8"))
    page = render(plan, {"runs": {}, "claims": {}}, items)
    assert all(f"| {claim.says} |" in page for claim in CLAIMS)
    assert page.count("**not run**") == len(CLAIMS)
    assert f"0 of {len(plan)} runs are finished" in page
    assert "Not run yet: base-a, base-b" in page
