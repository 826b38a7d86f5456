"""One commit or none, whatever the Hub and the way to it do."""

import huggingface_hub.constants
import pytest
from huggingface_hub import HfApi

from modeling_vital.publishing.contents import read_contents
from modeling_vital.publishing.errors import PublishError
from modeling_vital.publishing.upload import upload
from tests.fixtures.hub_server import TOKEN, Blob, serve


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with serve() as server:
        yield server


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "a model"
    (root / "more of it").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("[core]")
    (root / "config.json").write_text("{}")
    (root / "model.safetensors").write_bytes(b"weights" * 9_000)
    (root / "more of it" / "other.safetensors").write_bytes(b"others" * 9_000)
    (root / "more of it" / "empty.txt").write_bytes(b"")
    return root


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def push(hub, folder, repo_id="org/model", token=TOKEN, **options):
    more = [
        name
        for name in ("more of it/other.safetensors", "more of it/empty.txt", "notes.txt")
        if (folder / name).exists()
    ]
    return upload(
        read_contents("model", folder, also=more), repo_id, api=HfApi(endpoint=hub.url, token=token), **options
    )


def commits(hub, repo_id="org/model"):
    return len(hub.repos["model", repo_id].commits) - 1  # without the first, the Hub's own


def test_one_commit_holds_every_file(hub, folder):
    published = push(hub, folder)
    repo = hub.repos["model", "org/model"]
    assert repo.files() == content(folder)
    assert commits(hub) == 1 and published.commit == repo.branches["main"] and published.kept == []
    assert published.url == f"{hub.url}/org/model" and not repo.private


def test_the_same_again_makes_no_commit(hub, folder):
    first = push(hub, folder)
    sent = len(hub.requests)
    assert push(hub, folder).commit == first.commit
    assert commits(hub) == 1
    assert not [request for request in hub.requests[sent:] if request.startswith("PUT")]


def test_private_and_branch(hub, folder):
    published = push(hub, folder, private=True, revision="trial/one")
    repo = hub.repos["model", "org/model"]
    assert repo.private and repo.files() == {} and repo.files("trial/one") == content(folder)
    assert published.commit == repo.branches["trial/one"]


def test_private_does_not_leak_into_a_public_repository(hub, folder):
    push(hub, folder)
    (folder / "secret.txt").write_text("x")
    with pytest.raises(PublishError, match="org/model .*--private"):
        push(hub, folder, private=True)
    assert commits(hub) == 1


FAILURES = {
    "token": (r"GET /api/whoami", 401, "hf auth login"),
    "server error at a large file": (r"PUT /objects/", 500, "500 .*again"),
    "cut in a large file": (r"PUT /objects/", "cut", "org/model .*again"),
    "cut before the modes": (r"POST .*/preupload/", "cut", "org/model .*again"),
    "server error at the commit": (r"POST .*/commit/", 503, "not known .*503"),
    "cut at the commit": (r"POST .*/commit/", "cut", "not known .*org/model"),
    "no right to commit": (r"POST .*/commit/", 403, "403.*token"),
    "someone else was quicker": (r"POST .*/commit/", 412, "412 .*again"),
    "repository not made": (r"POST /api/repos/create", 500, "500 .*again"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_publishes_nothing_and_the_next_run_completes(hub, folder, name):
    pattern, how, message = FAILURES[name]
    hub.fail(pattern, how)
    with pytest.raises(PublishError, match=message):
        push(hub, folder)
    assert all(repo.files() == {} for repo in hub.repos.values())
    hub.mend()
    push(hub, folder)
    assert hub.repos["model", "org/model"].files() == content(folder) and commits(hub) == 1


def test_what_was_sent_is_not_sent_again(hub, folder):
    hub.fail(r"POST .*/commit/", 500)
    with pytest.raises(PublishError):
        push(hub, folder)
    sent = [request for request in hub.requests if request.startswith("PUT")]
    assert len(sent) == 2
    hub.mend()
    push(hub, folder)
    assert [request for request in hub.requests if request.startswith("PUT")] == sent


def test_a_passing_failure_is_waited_out(hub, folder):
    hub.fail(r"PUT /objects/", 503, times=2)
    push(hub, folder)
    assert hub.repos["model", "org/model"].files() == content(folder)


def test_a_commit_whose_answer_was_lost_is_found_by_the_next_run(hub, folder):
    hub.fail(r"POST .*/commit/", "silence", times=1)
    with pytest.raises(PublishError, match="not known .*org/model.*again"):
        push(hub, folder)
    assert hub.repos["model", "org/model"].files() == content(folder)
    assert push(hub, folder).commit == hub.repos["model", "org/model"].branches["main"]
    assert commits(hub) == 1


def test_someone_else_was_quicker(hub, folder, monkeypatch):
    push(hub, folder)
    (folder / "config.json").write_text('{"new": 1}')
    repo = hub.repos["model", "org/model"]
    real = HfApi.preupload_lfs_files

    def meanwhile(self, *args, **kwargs):
        repo.commit("main", {**repo.commits[repo.branches["main"]], "config.json": Blob(b"theirs", False)})
        return real(self, *args, **kwargs)

    monkeypatch.setattr(HfApi, "preupload_lfs_files", meanwhile)
    with pytest.raises(PublishError, match="412 .*again"):
        push(hub, folder)
    assert repo.files()["config.json"] == b"theirs"


def test_a_file_that_changed_on_the_way_is_noticed(hub, folder, monkeypatch):
    real = HfApi.create_commit

    def spoil(self, *args, **kwargs):
        done = real(self, *args, **kwargs)
        repo = hub.repos["model", "org/model"]
        repo.commits[done.oid]["model.safetensors"] = Blob(b"other", True)
        return done

    monkeypatch.setattr(HfApi, "create_commit", spoil)
    with pytest.raises(PublishError, match="model.safetensors"):
        push(hub, folder)


def test_old_files_stay_unless_pruned(hub, folder):
    (folder / "notes.txt").write_text("old")
    push(hub, folder)
    (folder / "notes.txt").unlink()
    assert push(hub, folder).kept == ["notes.txt"]
    assert push(hub, folder, prune=True).kept == []
    assert hub.repos["model", "org/model"].files() == content(folder)
    assert (
        ".gitattributes" in hub.repos["model", "org/model"].commits[hub.repos["model", "org/model"].branches["main"]]
    )


def test_old_weights_are_refused(hub, folder):
    push(hub, folder)
    (folder / "model.safetensors").rename(folder / "renamed.safetensors")
    with pytest.raises(PublishError, match="model.safetensors.*--prune"):
        push(hub, folder)
    assert commits(hub) == 1
    push(hub, folder, prune=True)
    assert hub.repos["model", "org/model"].files() == content(folder)


def test_no_token_and_no_right(hub, folder):
    with pytest.raises(PublishError, match="hf auth login"):
        push(hub, folder, token=False)
    with pytest.raises(PublishError, match="hf auth login"):
        push(hub, folder, token="hf_wrong")
    with pytest.raises(PublishError, match="not-mine/model .*token"):
        push(hub, folder, "not-mine/model")
    assert hub.repos == {}


def test_no_server(folder, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with serve() as server:
        url = server.url
    with pytest.raises(PublishError, match="org/model .*refused.*again"):
        upload(read_contents("model", folder), "org/model", api=HfApi(endpoint=url, token=TOKEN))


def test_offline_is_said(folder):
    with pytest.raises(PublishError, match="org/model .*HF_HUB_OFFLINE"):
        upload(read_contents("model", folder), "org/model", api=HfApi(endpoint="http://127.0.0.1:9", token=TOKEN))
