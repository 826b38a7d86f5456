"""Croissant metadata (MLCommons, 1.0) of a data set: what its files and columns are, for machines."""

import hashlib
import re
from pathlib import Path
from typing import Any

from datasets import Features, Image, List, Value, Video

from dataset_scripts.schema import row_features
from dataset_scripts.validator import data_files


_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(
    folder: Path, title: str, description: str, annotators: list[str], licenses: list[str]
) -> dict[str, Any]:
    """Describes the Parquet files of a data set.

    Args:
        folder (`Path`): of the data set.
        title, description (`str`): in words.
        annotators (`list[str]`): fields of the column `annotators`.
        licenses (`list[str]`): of the originals.

    Returns:
        `dict`: JSON-LD. Every file has its sha256; every configuration is a record set over the files of all its
        splits.
    """
    files, record_sets = [], []
    for config, splits in data_files(folder).items():
        paths = [path for parts in splits.values() for path in parts]
        for path in paths:
            place = path.relative_to(folder).as_posix()
            files.append(
                {
                    "@type": "cr:FileObject",
                    "@id": place,
                    "name": re.sub(r"\W+", "-", place),
                    "contentUrl": place,
                    "encodingFormat": "application/x-parquet",
                    "contentSize": f"{path.stat().st_size} B",
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                }
            )
        files.append(
            {
                "@type": "cr:FileSet",
                "@id": f"{config}-files",
                "encodingFormat": "application/x-parquet",
                "includes": f"data/{config}/*.parquet",
            }
        )
        record_sets.append(
            {
                "@type": "cr:RecordSet",
                "@id": config,
                "name": config,
                "key": {"@id": f"{config}/id"},
                "field": _fields(config, row_features(config, annotators)),
            }
        )
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": title,
        "description": description,
        "license": licenses,
        "distribution": files,
        "recordSet": record_sets,
    }


def _fields(config: str, features: Features) -> list[dict[str, Any]]:
    fields = []
    for column, kind in features.items():
        repeated = isinstance(kind, List)
        inner = kind.feature if repeated else kind
        field = {
            "@type": "cr:Field",
            "@id": f"{config}/{column}",
            "name": column,
            "source": {"fileSet": {"@id": f"{config}-files"}, "extract": {"column": column}},
        }
        fields.append(field | {"dataType": _data_type(inner)} | ({"repeated": True} if repeated else {}))
    return fields


def _data_type(kind: Any) -> str:
    if isinstance(kind, Image):
        return "sc:ImageObject"
    if isinstance(kind, Video):
        return "sc:VideoObject"
    if isinstance(kind, Value) and kind.dtype.startswith("float"):
        return "sc:Float"
    if isinstance(kind, Value) and kind.dtype.startswith("int"):
        return "sc:Integer"
    return "sc:Text"  # a string, or a nested value as its JSON text
