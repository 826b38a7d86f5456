"""From recorded runs to numbers: correlations with intervals, and the comparisons the claims need."""

import hashlib
import json
from pathlib import Path
from typing import Any

from modeling_vital.whole_files import write_whole
from training.experiment.claims import CLAIMS, opponents
from training.experiment.measures import correlate, difference, distinct_difference, text_measures


ITEMS, ANALYSIS = "items.json", "analysis.json"


def analyse(results: Path) -> dict[str, Any]:
    """Measures all recorded runs, and writes `analysis.json` beside them. What has not changed is taken from there.

    Args:
        results (`Path`): with `items.json` and one JSON a run.

    Returns:
        `dict`: `digests` of the files it is made from; `runs`, name -> `kind`, `decoder`, `seed`, `cpu_seconds`,
        `subsets` (see [`correlate`]), `text` (see [`text_measures`]); `claims`, name -> comparisons with `a`, `b`,
        `subset`, `difference`, `low`, `high`, `apart`, see [`training.experiment.claims.verdict`].
    """
    file = results / ANALYSIS
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    items = json.loads((results / ITEMS).read_text(encoding="utf-8"))
    recorded = {path.stem: path for path in sorted(results.glob("*.json")) if path.name not in (ITEMS, ANALYSIS)}
    digests = {name: digest(path) for name, path in {"items": results / ITEMS, **recorded}.items()}
    known = before.get("digests", {})
    same = {name for name in digests if digests[name] == known.get(name) and digests["items"] == known.get("items")}
    whole = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in recorded.items()}
    runs = {}
    for name, result in whole.items():
        if name in same:
            runs[name] = before["runs"][name]
            continue
        runs[name] = {
            **{key: result["run"][key] for key in ("kind", "decoder", "seed")},
            "cpu_seconds": result["cpu_seconds"],
            "subsets": {s: correlate(found, items["subsets"][s]) for s, found in result["scores"].items()},
            "text": text_measures(result["texts"], items),
        }
    claims = {}
    for claim in CLAIMS:
        old = {(one["a"], one["b"]): [] for one in before.get("claims", {}).get(claim.name, [])}
        for one in before.get("claims", {}).get(claim.name, []):
            old[one["a"], one["b"]].append(one)
        claims[claim.name] = []
        for a, b in opponents(claim, runs):
            if {a, b} <= same and (a, b) in old:
                claims[claim.name] += old[a, b]
            elif claim.measure == "distinct":
                found = distinct_difference(whole[a]["texts"], whole[b]["texts"])
                claims[claim.name].append({"a": a, "b": b, "subset": "in_domain", **found, "apart": False})
            else:
                for subset, columns in items["subsets"].items():
                    found = difference(whole[a]["scores"][subset], whole[b]["scores"][subset], columns)
                    left, right = (runs[name]["subsets"][subset]["srcc"] for name in (a, b))
                    apart = None not in (left[1], right[2]) and left[1] > right[2]
                    claims[claim.name].append({"a": a, "b": b, "subset": subset, **found, "apart": apart})
    analysis = {"digests": digests, "runs": runs, "claims": claims}
    write_whole(file, json.dumps(analysis, indent=1) + "\n")
    return analysis


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
