"""Mean human scores of KADID-10k by distortion type and level: the scale on which all annotators are calibrated.

Lin, Hosu, Saupe: KADID-10k: a large-scale artificially distorted IQA database, QoMEX 2019. 81 pictures, 25 types, 5
levels, 30 opinions each on a degradation scale 1 (very annoying) .. 5 (imperceptible). No picture is needed here.
"""

import csv
from functools import lru_cache
from pathlib import Path


KADID_CELLS = Path(__file__).parent / "data" / "kadid10k_cells.csv"

HELD_OUT_TYPES = ("motion_blur", "multiplicative_noise", "jpeg2000")
"""Types kept out of training and of every fit, to test on."""

PRISTINE_MOS = 0.95
"""Where an undistorted picture is put. KADID-10k did not ask about originals; its best cell is .90."""

_UNORDERED = ("mean_shift", "contrast_change")


@lru_cache(maxsize=1)
def kadid_cells() -> dict[tuple[str, int], float]:
    """Mean human score of each distortion and severity of `dataset_scripts.distortions`.

    Returns:
        `dict`: (name, severity 1..5) -> mos in [0, 1], higher is better; (score - 1) / 4 of the published scale.

    Note:
        The levels of mean shift and contrast change in KADID-10k are not in the order of their strength (one level
        even is the identity). Ours are, so their five means are sorted, best first.
    """
    cells: dict[tuple[str, int], float] = {}
    with KADID_CELLS.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            cells[row["distortion"], int(row["level"])] = (float(row["mean"]) - 1.0) / 4.0
    for name in _UNORDERED:
        ordered = sorted((cells[name, level] for level in range(1, 6)), reverse=True)
        cells.update({(name, level): mos for level, mos in enumerate(ordered, start=1)})
    return cells


def human_mos(distortion: str, severity: int) -> float:
    """Mean human score of one cell in [0, 1], higher is better.

    Raises:
        ValueError: KADID-10k has no such cell.
    """
    try:
        return kadid_cells()[distortion, severity]
    except KeyError:
        raise ValueError(f"KADID-10k has no cell ({distortion!r}, {severity!r})") from None
