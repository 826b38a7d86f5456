"""The workflows of the continuous integration call make targets that there are, pin actions, and may do little."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import modeling_vital


ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = re.findall(r"^(\w+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
PYPROJECT = (ROOT / "pyproject.toml").read_text()


def jobs(path: Path) -> dict:
    return yaml.safe_load(path.read_text())["jobs"]


def make(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", "-s", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_all_are_there():
    names = {job for path in WORKFLOWS for job in jobs(path)}
    assert {"lint", "test", "docs", "wheel", "slow", "lowest", "latest", "build", "publish"} <= names


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_runs_make_targets_in_limited_time(path):
    for name, job in jobs(path).items():
        assert job["timeout-minutes"] <= 120, name
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            if "run" in step:
                target = re.fullmatch(r'make (\w+)(?: TAG="\$GITHUB_REF_NAME")?', step["run"])
                assert target and target[1] in TARGETS, step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_a_commit_that_is_named(path):
    uses = re.findall(r"uses: (.*)", path.read_text())
    assert uses
    for use in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), use


def test_an_action_has_one_commit_everywhere():
    pins = {use for path in WORKFLOWS for use in re.findall(r"uses: (.*)", path.read_text())}
    assert len({pin.partition("@")[0] for pin in pins}) == len(pins)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_permissions_are_the_least(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job.get("permissions") == ({"id-token": "write"} if name == "publish" else None), name
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False
    assert "secrets." not in path.read_text() and "pull_request_target" not in path.read_text()


def test_only_what_was_tested_is_published():
    publish = jobs(ROOT / ".github/workflows/release.yml")["publish"]
    assert publish["needs"] == "build" and publish["environment"]
    assert [step["uses"].partition("@")[0] for step in publish["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
    commands = [step.get("run") for step in jobs(ROOT / ".github/workflows/release.yml")["build"]["steps"]]
    assert commands.index("make test") < commands.index("make wheel")


def test_every_python_that_is_promised_is_tested():
    promised = re.findall(r"Python :: (3\.\d+)", PYPROJECT)
    assert jobs(ROOT / ".github/workflows/ci.yml")["test"]["strategy"]["matrix"]["python"] == promised
    (lowest,) = (
        s["with"]
        for s in jobs(ROOT / ".github/workflows/nightly.yml")["lowest"]["steps"]
        if "with" in s and "python-version" in s["with"]
    )
    assert lowest["python-version"] == promised[0]


def test_the_lowest_versions_are_those_of_the_metadata():
    installed = {str(Requirement(line)) for line in make("bounds").stdout.splitlines()}
    wanted = set()
    for section in ("dependencies", "cli", "video", "data", "eval", "openai"):
        for text in re.findall(
            r'^    "(.*?)",', PYPROJECT.split(f"\n{section} = [\n")[1].split("\n]")[0], re.MULTILINE
        ):
            wanted.add(str(Requirement(text.replace(">=", "==", 1))))
    assert len(installed) > 15
    assert installed == wanted


def test_a_tag_that_is_not_the_version_is_refused():
    assert make("tag", f"TAG=v{modeling_vital.__version__}").returncode == 0
    for tag in ("v99.0", modeling_vital.__version__, ""):
        refused = make("tag", f"TAG={tag}")
        assert refused.returncode != 0 and modeling_vital.__version__ in refused.stderr
