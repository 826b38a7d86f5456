"""Targets of the numbers, and which are met."""

from collections.abc import Mapping
from typing import Any


def targets(sections: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Compares what was measured with its targets.

    Args:
        sections (`Mapping[str, Any]`): results by section; those that are missing have no targets.

    Returns:
        `dict`: by name `ratio` (the measured ratio or amount), `target`, `bound` (`"at least"` or `"at most"`), `met`,
        and the `section` it is from.
    """
    result: dict[str, dict[str, Any]] = {}

    def judge(section: str, name: str, value: float, target: float, bound: str = "at least") -> None:
        met = value >= target if bound == "at least" else value <= target
        result[name] = {"ratio": value, "target": target, "bound": bound, "met": met, "section": section}

    if scoring := sections.get("scoring"):
        for name, least in {"one photo": 2.0, "eight photos": 3.0, "clip": 3.0}.items():
            judge(
                "scoring", f"{name}: released procedure over ours", _over(scoring, name, "released procedure"), least
            )
            same = scoring[name]["over_same_scores"]
            judge("scoring", f"{name}: the same for the very same scores", same, least)
        for name, least in {"one photo": 1.1, "eight photos": 1.5}.items():
            judge(
                "scoring", f"{name}: plain transformers over ours", _over(scoring, name, "plain transformers"), least
            )
        for name, ways in scoring["memory_mib"].items():
            share = ways["ours"]["working"] / ways["released procedure"]["working"]
            judge("scoring", f"{name}: working memory of ours over the released procedure", share, 0.5, "at most")
    if preparation := sections.get("preparation"):
        for name, most in {"photo from a file": 5.0, "clip from a file": 25.0}.items():
            if isinstance(value := preparation["ms"][name], float):
                judge("preparation", f"{name}: main process outside the model, ms", value, most, "at most")
    if peak := sections.get("peak_share"):
        judge("peak_share", "forward: share of the matrix-product peak", peak["forward_share"], 0.7)
    if decoding := sections.get("decoding"):
        large = next(key for key in decoding if key.startswith("busy_") and key != "busy_tiny")
        judge("decoding", "photos from files: share of the time the model works", decoding[large]["share"], 0.9)
    if training := sections.get("training_step"):
        for stage in (key for key, value in training.items() if isinstance(value, dict)):
            judge("training_step", f"step of {stage}: without savings over ours", training[stage]["ratio"], 1.5)
    if cold := sections.get("cold_start"):
        judge("cold_start", "cold start of `vital score photo`, seconds", cold["wall_s"], 6.0, "at most")
        own = cold["imports_s"]["modeling_vital"]
        judge("cold_start", "of these in our own modules' imports, seconds", own, 0.5, "at most")
    if growth := sections.get("growth"):
        judge("growth", "memory a further item, MiB", growth["items_memory_mib"]["slope"], 0.05, "at most")
    return result


def _over(scoring: Mapping[str, Any], name: str, way: str) -> float:
    return scoring[name]["over_ours"][way]
