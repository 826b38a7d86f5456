"""`--where`: what a condition keeps, and that it cannot do anything else."""

import pytest

from modeling_vital.cli.errors import UsageError
from modeling_vital.cli.filters import parse_condition
from tests.fixtures.stand_in import WORDS


GOOD = {"path": "a/cat.jpg", "modality": "image", "score": 0.8, "std": 0.1, "level": "high", "prob_low": 0.01}
GOOD["error"] = None
FAILED = {"path": "b/dog.png", "modality": None, "score": None, "std": None, "level": None, "error": "torn"}


@pytest.mark.parametrize(
    ("text", "good", "failed"),
    [
        ("score < 0.4", False, False),
        ("score >= 0.8", True, False),
        ("0.5 < score < 0.9", True, False),
        ("0.5 < score < 0.7", False, False),
        ("score != 0.5", True, True),
        ("not score < 0.4", True, True),
        ("level in ['high', 'good']", True, False),
        ("level not in ('high',)", False, False),
        ("error == None", True, False),
        ("'cat' in path and modality == \"image\"", True, False),
        ("score > 0.9 or error != None", False, True),
        ("score - 2 * std > 0.55", True, False),
        ("-score < -0.7", True, False),
        ("prob_low < 0.02", True, False),
        ("1 / (score - 0.8) > 0", False, False),
        ("  score<1  ", True, False),
        ("score != 0.8 and 1 / (score - 0.8) > 0", False, False),
        ("[score] < [0.9]", True, False),
        ("score < 1e308 * 1e308", True, False),
    ],
)
def test_condition(text, good, failed):
    condition = parse_condition(text, WORDS)
    assert condition(GOOD) is good
    assert condition(FAILED) is failed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "score <",
        "scores < 1",
        "__import__('os').system('true')",
        "path.upper() == 'A'",
        "score.real > 0",
        "path[0] == 'a'",
        "[x for x in path]",
        "lambda: 1",
        "score ** 9 ** 9 ** 9",
        "path < 3",
        "score < 0.4 and level > 3",
        "score < 1 or path < 3",
        "0.9 < score < 'a'",
        "prob_hihg > 0.1",
        "prob_ > 0.1",
        "score + " + "9" * 400 + " > 1",
        "score in 3",
        "f'{score}'",
        "(score := 1)",
        "path * 10000000000",
        "(" * 300 + "score" + ")" * 300,
    ],
)
def test_what_is_no_condition_is_refused_before_anything_is_scored(text):
    with pytest.raises(UsageError, match="--where"):
        parse_condition(text, WORDS)
