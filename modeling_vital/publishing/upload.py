"""One commit to the Hub, and the proof that it holds what was sent."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from ..messages import first_line
from .contents import Contents, read_card
from .errors import PublishError


_KEPT_THERE = {".gitattributes"}  # the Hub's own
# Files that are loaded because they are there: an old one beside new ones changes what users get.
_LOADED = (".parquet", ".safetensors", ".safetensors.index.json")
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Published:
    """A finished upload.

    Attributes:
        url (`str`): page of the repository.
        commit (`str`): id of the commit that holds the files.
        kept (`list[str]`): files of the repository that the folder lacks, left there.
    """

    url: str
    commit: str
    kept: list[str]


def upload(
    contents: Contents,
    repo_id: str,
    private: bool = False,
    revision: str | None = None,
    prune: bool = False,
    api: HfApi | None = None,
) -> Published:
    """Makes the repository hold the files of a folder, by one commit or not at all.

    Large files go first, and become part of the repository with the commit only. What a broken upload had already
    sent is not sent again.

    Args:
        contents (`Contents`): what to send.
        repo_id (`str`): `org/name`; made if it is not there.
        private (`bool`, *optional*, defaults to `False`): make it private.
        revision (`str`, *optional*): branch, made if it is not there; the main one by default.
        prune (`bool`, *optional*, defaults to `False`): remove, in the same commit, what the folder lacks.
        api (`HfApi`, *optional*): by default that of `HF_ENDPOINT`, with the token of the user.

    Returns:
        `Published`: the commit, checked to hold every file as it is here.

    Raises:
        PublishError: nothing was published; or, if it says so, the check of what was published failed.
    """
    api = api or HfApi(token=get_token())
    where: dict[str, Any] = {"repo_id": repo_id, "repo_type": contents.kind}
    with _explained(f"nothing was published to {repo_id}"):
        if not api.token:
            raise PublishError("no token for the Hub: run `hf auth login`, or set HF_TOKEN, and try again.")
        api.whoami()
        _prepare_repository(api, contents, where, private)
        if revision is not None:
            api.create_branch(**where, branch=revision, exist_ok=True)
        parent = api.repo_info(**where, revision=revision).sha
        there = _remote_files(api, where, parent)
        extra = sorted(set(there) - set(contents.files) - _KEPT_THERE)
        loaded = [name for name in extra if name.endswith(_LOADED)]
        if loaded and not prune:
            raise PublishError(
                f"{repo_id} holds {', '.join(loaded)}, not in {contents.root}, and users would load them along with "
                "the new files; --prune removes what the folder lacks."
            )
        additions = [CommitOperationAdd(name, str(path)) for name, path in contents.files.items()]
        api.preupload_lfs_files(**where, additions=additions, revision=revision, free_memory=False)
    with _explained(
        f"nothing was published to {repo_id}", f"it is not known whether {repo_id} now holds all or nothing"
    ):
        commit = api.create_commit(
            **where,
            operations=additions + [CommitOperationDelete(name, is_folder=False) for name in extra if prune],
            commit_message=f"Publish {len(contents.files)} files with modeling-vital",
            revision=revision,
            parent_commit=parent,  # refused if someone else was quicker
        )
    with _explained(f"{repo_id} was published as {commit.oid}, but could not be checked"):
        _check_remote(contents, _remote_files(api, where, commit.oid), f"{repo_id} at {commit.oid}")
    return Published(str(commit.repo_url), commit.oid, [] if prune else extra)


def _prepare_repository(api: HfApi, contents: Contents, where: dict[str, Any], private: bool) -> None:
    try:
        info = api.repo_info(**where)
    except RepositoryNotFoundError:
        sdk = read_card("space", contents.files["README.md"])["sdk"] if contents.kind == "space" else None
        api.create_repo(**where, private=private, space_sdk=sdk, exist_ok=True)
        return
    if private and not info.private:
        raise PublishError(f"{where['repo_id']} exists and is public: make it private on the Hub, or leave --private.")


def _remote_files(api: HfApi, where: dict[str, Any], revision: str | None) -> dict[str, RepoFile]:
    entries = api.list_repo_tree(**where, revision=revision, recursive=True)
    return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def _check_remote(contents: Contents, there: dict[str, RepoFile], where: str) -> None:
    for name, path in contents.files.items():
        if name not in there:
            raise PublishError(f"{where} lacks {name}; run the same command again.")
        lfs = there[name].lfs
        if lfs is not None:
            same = lfs.sha256 == _digest(path, "sha256")
        else:
            same = there[name].blob_id == _digest(path, "sha1", f"blob {path.stat().st_size}\0".encode())
        if not same:
            raise PublishError(f"{where} holds another {name} than {path}; run the same command again.")


def _digest(path: Path, algorithm: str, head: bytes = b"") -> str:
    """Digest of a file; with git's head before it, `sha1` is git's id of the file."""
    digest = hashlib.new(algorithm, head, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _explained(outcome: str, unanswered: str | None = None) -> Iterator[None]:
    """Makes whatever the Hub or the way to it raises a `PublishError` that says what became of the upload.

    `unanswered` is what became of it where no clear answer came: the request may have been carried out.
    """
    again = "run the same command again: what was sent already is not sent again"
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = {
            401: "the token is not valid: run `hf auth login`",
            403: "the token may not write there: make one that may, or publish under your own name",
            409: "someone else changed the repository at the same time: run the same command again",
            412: "someone else changed the repository at the same time: run the same command again",
        }.get(status, again)
        if status >= 500 and unanswered:
            outcome = unanswered
        raise PublishError(f"{outcome} ({first_line(error)}); {advice}.") from error
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        reason = first_line(error.__cause__ or error)
        raise PublishError(f"{unanswered or outcome} ({reason}); {again}.") from error
