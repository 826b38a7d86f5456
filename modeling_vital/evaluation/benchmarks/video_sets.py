"""The video benchmarks, as distributed."""

import re
from pathlib import PurePosixPath

from .definition import Benchmark, Row, Table


_NAMES = (
    "video",
    "video_name",
    "videoname",
    "name",
    "filename",
    "file_name",
    "vid",
    "pvs",
    "video_list",
    "video_names",
)
_OPINIONS = ("mos", "mos_vq", "vq", "score", "scores", "mos_video_quality")


def _lsvq(name: str, title: str, table: Table, counts: dict[str, int], split: str) -> Benchmark:
    return Benchmark(
        name=name,
        title=title,
        modality="video",
        mos_range=(0, 100),
        domain="in",
        counts=counts,
        default_split=split,
        tables=(table,),
        suffixes=(".mp4", ""),
    )


def _kvq_source(row: Row, name: str) -> str:
    """Each upload is there seven times, as it was and in six processed forms, numbered in a row."""
    path = PurePosixPath(name)
    number = re.sub(r"\D", "", path.stem)
    return f"{path.parent}/{(int(number) - 1) // 7}" if number else name


VIDEO_SETS = (
    _lsvq(
        "lsvq_test",
        "LSVQ-test",
        Table(
            ("labels_train_test.csv",),
            ("name",),
            ("mos",),
            split="is_test",
            splits={"true": "test", "1": "test", "1.0": "test", "false": "train", "0": "train", "0.0": "train"},
        ),
        {"test": 7182},
        "test",
    ),
    _lsvq("lsvq_1080p", "LSVQ-1080p", Table(("labels_test_1080p.csv",), ("name",), ("mos",)), {"all": 3573}, "all"),
    Benchmark(
        name="konvid1k",
        title="KoNViD-1k",
        modality="video",
        mos_range=(1, 5),
        counts={"all": 1200},
        tables=(
            Table(("KoNViD_1k_mos.csv",), ("flickr_id",), ("mos",)),
            Table(("KoNViD_1k_attributes.csv",), ("flickr_id", "file_name"), ("mos",)),
        ),
        suffixes=(".mp4", ""),
        folders=("KoNViD_1k_videos",),
    ),
    Benchmark(
        name="livevqc",
        title="LIVE-VQC",
        modality="video",
        mos_range=(0, 100),
        counts={"all": 585},
        tables=(Table(("data.mat",), ("video_list",), ("mos",)),),
        folders=("Video",),
    ),
    Benchmark(
        name="youtube_ugc",
        title="YouTube-UGC",
        modality="video",
        mos_range=(1, 5),
        counts={"all": 1380},
        tables=(Table(("*MOS_for_YouTube_UGC_dataset.xlsx",), ("vid",), ("MOS full",), sheet="MOS"),),
        suffixes=("_crf_10_ss_00_t_20.0.mp4", ".mkv", ".mp4", ".webm"),
        distortion=lambda row, name: row.get("category", "").strip().lower(),
        note="clips have been withdrawn over time, so copies differ; the subsets are the categories",
    ),
    Benchmark(
        name="cgvds",
        title="CGVDS",
        modality="video",
        mos_range=(1, 7),
        counts={"all": 357},
        tables=(Table(("*.xlsx",), _NAMES, _OPINIONS), Table(("*.csv",), _NAMES, _OPINIONS)),
        suffixes=("", ".mp4"),
        verified=False,
    ),
    Benchmark(
        name="live_yt_gaming",
        title="LIVE-YT-Gaming",
        modality="video",
        mos_range=(0, 100),
        counts={"all": 600},
        tables=tuple(Table((pattern,), _NAMES, _OPINIONS) for pattern in ("*.csv", "*.mat", "*.xlsx")),
        suffixes=("", ".mp4"),
        verified=False,
    ),
    Benchmark(
        name="live_yt_hfr",
        title="LIVE-YT-HFR",
        modality="video",
        mos_range=(0, 100),
        counts={"all": 480},
        tables=(Table(("subject_MOS.csv",), ("File Names",), ("MOS",)),),
        suffixes=(".webm", ".mp4", ""),
        group=lambda row, name: name.split("_crf_")[0],
        distortion=lambda row, name: name.rsplit("_", 1)[1],
        note="the subsets are the frame rates",
    ),
    Benchmark(
        name="kvq",
        title="KVQ",
        modality="video",
        mos_range=(1, 5),
        counts={"train": 2926, "validation": 420, "test": 854},
        default_split="test",
        tables=(
            Table(("train_data.csv",), ("filename",), ("score",), of_split="train"),
            Table(("val_data.csv",), ("filename",), ("score",), of_split="validation"),
            Table(("truth.csv",), ("filename",), ("score",), of_split="validation"),
            Table(("test_data.csv",), ("filename",), ("score",), of_split="test"),
        ),
        group=_kvq_source,
        note="labels of the test split were not published with the challenge; ask for --split validation without them",
    ),
)
"""In the order in which they are reported."""
