"""What an installed package is: its contents, its metadata, and that importing it is cheap."""

import email
import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

import modeling_vital
from modeling_vital import zoo


ROOT = Path(__file__).parents[1]
MAX_WHEEL_MB = 45


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of what setuptools could take up, so that no old `build/` gets into it."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("modeling_vital", "dataset_scripts", "training", "spaces_demo", "model_cards", "tests"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("examples"))
    built = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def metadata(wheel, names):
    (name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_bytes(archive.read(name))


def test_wheel_has_one_top_level_package(names):
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"modeling_vital"}


def test_wheel_has_every_module_and_no_caches(names):
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "modeling_vital").rglob("*.py")
        if not any(part.startswith("vital-") for part in path.parts)
    }
    assert modules <= set(names)
    assert "modeling_vital/cli/main.py" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


@pytest.mark.parametrize("checkpoint", zoo.EMBEDDED)
def test_wheel_carries_the_embedded_checkpoint(checkpoint, names):
    folder = Path(zoo.resolve(checkpoint))
    files = {path.relative_to(ROOT).as_posix() for path in folder.iterdir() if path.is_file()}
    assert {f"{folder.relative_to(ROOT).as_posix()}/{name}" for name in ("config.json", "model.safetensors")} <= files
    assert files <= set(names)


def test_wheel_is_small(wheel):
    assert wheel.stat().st_size < MAX_WHEEL_MB * 10**6


def test_wheel_has_the_command(wheel, names):
    (name,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
    entry_points = ConfigParser()
    with zipfile.ZipFile(wheel) as archive:
        entry_points.read_string(archive.read(name).decode())
    assert dict(entry_points["console_scripts"]) == {"vital": "modeling_vital.cli.main:main"}


def test_metadata(metadata, names):
    assert metadata["Name"] == "modeling-vital"
    assert metadata["Version"] == modeling_vital.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    extras = {
        "video",
        "cli",
        "train",
        "data",
        "annotators",
        "ray",
        "openai",
        "eval",
        "metrics",
        "onnx",
        "demo",
        "docs",
        "dev",
    }
    assert set(metadata.get_all("Provides-Extra")) == extras
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]


def test_nothing_asks_for_torchvision_or_timm(metadata):
    asked = " ".join(metadata.get_all("Requires-Dist"))
    assert not re.search(r"\b(torchvision|timm)\b", asked)


def test_version_stands_in_one_place():
    literal = re.escape(modeling_vital.__version__)
    files = [ROOT / name for name in ("pyproject.toml", "Makefile", "CITATION.cff")]
    files += (ROOT / "modeling_vital").rglob("*.py")
    holders = [path.name for path in files if re.search(rf"(?<![\w.]){literal}(?![\w.])", path.read_text("utf-8"))]
    assert holders == ["_version.py"]


def test_every_requirement_has_a_bound_and_its_reason():
    text = (ROOT / "pyproject.toml").read_text()
    requirements = re.findall(r'^    "([A-Za-z0-9][\w.\[\]-]*[<>=!~][^"]*)",(.*)$', text, flags=re.MULTILINE)
    assert len(requirements) > 20
    for requirement, comment in requirements:
        bound = re.search(r">=([\d.]+)", requirement)
        assert bound, f"{requirement} has no lower bound"
        assert re.fullmatch(rf"  # {re.escape(bound[1])}: .{{10,}}", comment), (
            f"{requirement}: no reason for {bound[1]}"
        )
    extras = text[text.index("[project]") : text.index("[project.scripts]")]
    listed = re.findall(r'^    "(?![A-Z])[a-z][\w.-]*[^:"]*"', extras, flags=re.MULTILINE)
    assert len(requirements) == len(listed), "a requirement without any bound"


def test_constraints_satisfy_the_bounds():
    from packaging.requirements import Requirement

    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            pins.setdefault(pin.name, []).append(pin)
    text = (ROOT / "pyproject.toml").read_text()
    for line in re.findall(r'^    "([A-Za-z0-9][\w.\[\]-]*[<>=!~][^"]*)",', text, flags=re.MULTILINE):
        wanted = Requirement(line)
        for pin in pins[wanted.name.lower().replace("_", "-")]:
            (specifier,) = pin.specifier
            assert wanted.specifier.contains(specifier.version), f"{pin} is outside {wanted}"


# ------------------------------------------------------------------------------------------------- the lazy package
def test_import_is_cheap():
    code = "import sys, modeling_vital; assert modeling_vital.__version__; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert not {"torch", "transformers", "numpy", "PIL"} & set(done.stdout.split())


@pytest.mark.parametrize("name", [name for name in modeling_vital.__all__ if name != "zoo"])
def test_exported_names_are_there(name):
    value = getattr(modeling_vital, name)
    assert name == "__version__" or value.__name__ == name
    assert name in dir(modeling_vital)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="modeling_vital.*VitalForEverything"):
        _ = modeling_vital.VitalForEverything
