"""The image benchmarks, as distributed."""

import hashlib
import re

from .definition import Benchmark, Row, Table


KADID_TYPES = (
    "gaussian blur,lens blur,motion blur,color diffusion,color shift,color quantization,color saturation hsv,"
    "color saturation lab,jpeg2000,jpeg,white noise,white noise in color component,impulse noise,multiplicative noise,"
    "denoise,brighten,darken,mean shift,jitter,non-eccentricity patch,pixelate,quantization,color block,high sharpen,"
    "contrast change"
).split(",")
TID_TYPES = (
    "additive gaussian noise,color component noise,spatially correlated noise,masked noise,high frequency noise,"
    "impulse noise,quantization noise,gaussian blur,denoising,jpeg,jpeg2000,jpeg transmission errors,"
    "jpeg2000 transmission errors,non-eccentricity pattern noise,block distortions,mean shift,contrast change,"
    "color saturation change,multiplicative gaussian noise,comfort noise,lossy compression of noisy images,"
    "color quantization with dither,chromatic aberrations,sparse sampling and reconstruction"
).split(",")
_CSIQ_FILES = {"noise": "AWGN", "blur": "BLUR", "jpeg": "JPEG", "jpeg 2000": "jpeg2000"}
_KADID_TEST = {f"i{number}" for number in range(66, 82)}


def _csiq_file(row: Row, name: str) -> str:
    kind = row["dst_type"].strip().lower()
    token = _CSIQ_FILES.get(kind, kind)
    return f"{token}/{name}.{token}.{int(float(row['dst_lev']))}.png"


def _code(name: str, types: list[str]) -> str:
    """Distortion of a file called `reference_type_level.suffix`."""
    return types[int(name.split("_")[1]) - 1]


def _stem_before(name: str, mark: str) -> str:
    return name.split(mark)[0].lower()


def _fifth_by_hash(name: str, group: str) -> str:
    """A fifth of the contents for testing, for ever the same: SPAQ has no official split."""
    return "test" if int(hashlib.sha256(group.lower().encode()).hexdigest()[:8], 16) % 5 == 0 else "train"


IMAGE_SETS = (
    Benchmark(
        name="koniq10k",
        title="KonIQ-10k",
        modality="image",
        mos_range=(0, 100),
        domain="in",
        counts={"all": 10073, "train": 7058, "validation": 1000, "test": 2015},
        default_split="test",
        tables=(
            Table(
                ("koniq10k_distributions_sets.csv",),
                ("image_name",),
                ("MOS",),
                std="SD",
                split="set",
                splits={"training": "train", "validation": "validation", "test": "test"},
            ),
            Table(("koniq10k_scores_and_distributions.csv",), ("image_name",), ("MOS_zscore",), std="SD"),
        ),
        folders=("1024x768", "512x384"),
    ),
    Benchmark(
        name="spaq",
        title="SPAQ",
        modality="image",
        mos_range=(0, 100),
        domain="in",
        counts={"all": 11125, "test": 2225, "train": 8900},
        default_split="test",
        tables=(Table(("MOS and Image attribute scores.xlsx",), ("Image name",), ("MOS",)),),
        folders=("TestImage",),
        split_of=_fifth_by_hash,
        note="no official split: test is a fifth by the hash of the name, not the list of any publication",
    ),
    Benchmark(
        name="livec",
        title="LIVE-C",
        modality="image",
        mos_range=(0, 100),
        counts={"all": 1162},
        tables=(
            Table(
                ("AllImages_release.mat", "AllMOS_release.mat", "AllStdDev_release.mat"),
                ("AllImages_release",),
                ("AllMOS_release",),
                std="AllStdDev_release",
            ),
            Table(("AllImages_release.mat", "AllMOS_release.mat"), ("AllImages_release",), ("AllMOS_release",)),
        ),
        folders=("Images",),
        exclude=r"t\d\.bmp",
        note="without the seven trial pictures t1 to t7",
    ),
    Benchmark(
        name="agiqa3k",
        title="AGIQA-3K",
        modality="image",
        mos_range=(0, 5),
        counts={"all": 2982},
        tables=(Table(("data.csv",), ("name",), ("mos_quality",), std="std_quality"),),
        group=lambda row, name: row.get("prompt") or name,
        distortion=lambda row, name: _stem_before(name, "_"),
        note="groups are prompts; the subsets are the generators",
    ),
    Benchmark(
        name="kadid10k",
        title="KADID-10k",
        modality="image",
        mos_range=(1, 5),
        domain="in",
        counts={"all": 10125, "train": 8125, "test": 2000},
        default_split="test",
        tables=(Table(("dmos.csv",), ("dist_img",), ("dmos",)),),
        folders=("images", "distorted_images"),
        group=lambda row, name: _stem_before(row.get("ref_img") or name, "." if row.get("ref_img") else "_"),
        distortion=lambda row, name: _code(name, KADID_TYPES),
        split_of=lambda name, group: "test" if group in _KADID_TEST else "train",
        note="higher is better although the file is called dmos.csv; test are the references I66 to I81",
    ),
    Benchmark(
        name="csiq",
        title="CSIQ",
        modality="image",
        mos_range=(0, 1),
        higher_is_better=False,
        counts={"all": 866},
        tables=(Table(("csiq.DMOS.xlsx",), ("image",), ("dmos",), std="dmos_std", sheet="all_by_image"),),
        file=_csiq_file,
        group=lambda row, name: name.lower(),
        distortion=lambda row, name: row["dst_type"].strip().lower(),
        note="DMOS, lower is better; mirrored here",
    ),
    Benchmark(
        name="tid2013",
        title="TID2013",
        modality="image",
        mos_range=(0, 9),
        counts={"all": 3000},
        tables=(Table(("mos_with_names.txt",), ("name",), ("mos",), columns=("mos", "name")),),
        folders=("distorted_images",),
        group=lambda row, name: _stem_before(name, "_"),
        distortion=lambda row, name: _code(name, TID_TYPES),
    ),
    Benchmark(
        name="bid",
        title="BID",
        modality="image",
        mos_range=(0, 5),
        counts={"all": 586},
        tables=(Table(("DatabaseGrades.xlsx",), ("Image Number",), ("Average Subjective Grade",), std="std"),),
        file=lambda row, name: f"DatabaseImage{int(float(re.sub(r'[^0-9.]', '', name))):04d}.JPG",
    ),
    Benchmark(
        name="uhdiqa",
        title="UHD-IQA",
        modality="image",
        mos_range=(0, 1),
        counts={"train": 4269, "validation": 904, "test": 900},
        default_split="test",
        tables=tuple(
            Table((f"uhd-iqa-{word}-metadata.csv",), ("image_name",), ("quality_mos",), of_split=split)
            for word, split in (("training", "train"), ("validation", "validation"), ("test", "test"))
        ),
        note="the public set, not the private 4K list of the released VITAL code",
    ),
)
"""In the order in which they are reported."""
