"""`vital score`. A stand-in model tests what the command itself does; a real one tests that it all goes together."""

import contextlib
import fcntl
import io
import json
import math
import os
import pty
import re
import runpy
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import textwrap
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import PreTrainedModel

from modeling_vital import zoo
from modeling_vital.cli import score_run
from modeling_vital.cli.main import main
from modeling_vital.cli.model_loading import load_model, resolve_model
from modeling_vital.cli.paths import collect
from modeling_vital.item_log import ItemLog
from tests.fixtures.stand_in import PROBS, WORDS, StandIn, install
from tests.fixtures.tiny_models import tiny_model


ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "spaces_demo" / "examples"
CENTRES = [0.9, 0.7, 0.5, 0.3, 0.1]
KEYS = ["path", "modality", "score", "std", "level", "level_probs", "error"]


@pytest.fixture
def stand_in(monkeypatch):
    return install(monkeypatch, StandIn(), score_run)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a few files."""
    for name, content in {"a.jpg": "0.5", "b.mp4": "0.25", "bad.png": "oops"}.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def strict_json(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def paths_of(*paths):
    with ItemLog(None, {}) as log:
        for target in collect(map(str, paths)):
            log.add(target.path, target.error, target.stamp)
        return [path for _, path, _ in log.pending()]


# ---------------------------------------------------------------------------------------------------- which files
def test_folder_is_searched_by_suffix_sorted_without_hidden_entries(tmp_path):
    names = [
        "z.JPG",
        "b.mp4",
        "a.gif",
        "notes.txt",
        "noise",
        ".hidden.jpg",
        "sub/c.webp",
        "sub/.git/d.jpg",
        ".x/e.jpg",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert paths_of(tmp_path) == [str(tmp_path / name) for name in ["a.gif", "b.mp4", "z.JPG", "sub/c.webp"]]


def test_named_path_is_taken_whatever_it_is_called(tmp_path):
    (tmp_path / ".hidden").touch()
    (tmp_path / "no-suffix").touch()
    given = [tmp_path / ".hidden", tmp_path / "no-suffix", tmp_path / "missing.xyz"]
    assert paths_of(*given) == [str(path) for path in given]


def test_named_hidden_folder_is_searched(tmp_path):
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.jpg").touch()
    assert paths_of(tmp_path / ".cache") == [str(tmp_path / ".cache" / "a.jpg")]


def test_path_given_twice_is_kept_once_at_its_first_place(folder):
    assert paths_of("b.mp4", "a.jpg", "./b.mp4", folder) == ["b.mp4", "a.jpg", str(folder / "bad.png")]


def test_two_links_to_one_file_are_two_paths(folder):
    (folder / "c.jpg").symlink_to("a.jpg")
    assert paths_of("a.jpg", "c.jpg") == ["a.jpg", "c.jpg"]


def test_linked_folder_is_not_followed(folder):
    (folder / "loop").symlink_to(folder)
    assert paths_of(folder) == [str(folder / name) for name in ["a.jpg", "b.mp4", "bad.png"]]


def test_folder_without_media_is_an_error(tmp_path):
    (tmp_path / "notes.txt").touch()
    (target,) = collect([str(tmp_path)])
    assert target.path == str(tmp_path)
    assert target.error == "no image or video files in this folder"


def test_folder_that_cannot_be_listed_is_an_error_beside_the_rest(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").touch()
    closed = tmp_path / "closed"
    closed.mkdir()
    scandir = os.scandir

    def guarded(path):
        if os.fspath(path) == str(closed):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    targets = {target.path: target.error for target in collect([str(tmp_path)])}
    assert targets == {
        str(tmp_path / "a.jpg"): None,
        str(closed): "the folder cannot be listed: Permission denied",
    }


def test_pipe_in_a_folder_is_an_error_and_a_link_to_nowhere_goes_to_the_reader(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("nowhere")
    targets = {Path(target.path).name: target.error for target in collect([str(tmp_path)])}
    assert targets == {"pipe.jpg": "not a regular file", "link.jpg": None}


# --------------------------------------------------------------------------------------------------------- formats
def test_json_record_of_a_scored_and_of_a_failed_file(stand_in, folder, capsys):
    assert main(["score", "--format", "json", "b.mp4", "bad.png"]) == 1
    out, err = capsys.readouterr()
    scored, failed = strict_json(out)
    assert list(scored) == list(failed) == KEYS
    assert scored == {
        "path": "b.mp4",
        "modality": "video",
        "score": 0.25,
        "std": 0.125,
        "level": "fair",
        "level_probs": PROBS,
        "error": None,
    }
    assert list(scored["level_probs"]) == WORDS
    assert failed == {**dict.fromkeys(KEYS), "path": "bad.png", "error": "bad.png is damaged; get a whole copy of it."}
    assert err == "vital: bad.png is damaged; get a whole copy of it.\n"


def test_json_has_one_record_a_line(stand_in, folder, capsys):
    main(["score", "--format", "json", "."])
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("[", "]")
    assert [json.loads(line.rstrip(","))["path"] for line in lines[1:-1]] == ["./a.jpg", "./b.mp4", "./bad.png"]


def test_table(stand_in, folder, capsys):
    assert main(["score", "a.jpg", "bad.png", "b.mp4"]) == 1
    assert capsys.readouterr().out == textwrap.dedent("""\
        path     score    std  level   high   good   fair   poor    low
        a.jpg    0.500  0.125  fair   0.050  0.400  0.400  0.120  0.030
        bad.png  error: bad.png is damaged; get a whole copy of it.
        b.mp4    0.250  0.125  fair   0.050  0.400  0.400  0.120  0.030
        """)


def test_table_has_its_heading_when_the_first_file_failed(stand_in, folder, capsys):
    main(["score", "bad.png", "a.jpg"])
    assert capsys.readouterr().out.splitlines()[0].split() == ["path", "score", "std", "level", *WORDS]


def test_table_stays_aligned_with_wide_and_combining_characters(stand_in, folder, capsys):
    for name in ["日本.jpg", "e\u0301te\u0301.jpg"]:
        (folder / name).write_text("0.5")
    assert main(["score", "日本.jpg", "e\u0301te\u0301.jpg", "a.jpg"]) == 0
    _, wide, combining, plain = capsys.readouterr().out.splitlines()
    assert wide.startswith("日本.jpg  0.500")
    assert combining.startswith("e\u0301te\u0301.jpg   0.500")
    assert plain.startswith("a.jpg     0.500")


HOSTILE = [
    "two\nlines.jpg",
    "clear\x1b[2J.jpg",
    "turned\u202egpj.jpg",
    "spaced  name.jpg",
    "été 😀.jpg",
    "raw\udce9.jpg",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_is_safe_in_the_table_and_exact_in_json(name, stand_in, folder, capsys):
    (folder / name).write_text("oops" if "clear" in name else "0.5")
    main(["score", name])
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert all(char.isprintable() or char == "\n" for char in out + err)
    main(["score", name, "--format", "json"])
    out = capsys.readouterr().out
    assert out.isascii()
    (record,) = strict_json(out)
    assert record["path"] == name


def test_failure_is_named_on_stderr_even_where_its_reason_does_not_name_it(stand_in, folder, capsys):
    (folder / "empty").mkdir()
    assert main(["score", "empty", "a.jpg"]) == 1
    out, err = capsys.readouterr()
    assert err == "vital: empty: no image or video files in this folder\n"
    assert [line.split()[0] for line in out.splitlines()] == ["path", "empty", "a.jpg"]


def test_model_is_not_loaded_when_there_is_nothing_to_score(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(score_run, "load_model", lambda source, device: pytest.fail("loaded"))
    assert main(["score", "--format", "json", str(tmp_path)]) == 1
    (record,) = strict_json(capsys.readouterr().out)
    assert record["error"] == "no image or video files in this folder"
    assert main(["score", str(tmp_path)]) == 1


def test_number_that_json_does_not_have_is_a_failure(stand_in, folder, capsys):
    (folder / "nan.jpg").write_text("nan")
    assert main(["score", "--format", "json", "nan.jpg", "a.jpg"]) == 1
    failed, scored = strict_json(capsys.readouterr().out)
    assert failed["score"] is None
    assert failed["error"] == "the model gave a score that is not a number"
    assert scored["score"] == 0.5


def test_library_that_prints_does_not_break_the_json(stand_in, folder, capsys, monkeypatch):
    quiet = stand_in.score
    monkeypatch.setattr(stand_in, "score", lambda *args, **kwargs: print("hello") or quiet(*args, **kwargs))
    assert main(["score", "--format", "json", "a.jpg"]) == 0
    out, err = capsys.readouterr()
    assert strict_json(out)
    assert "hello" in err


def test_batches_keep_the_order_and_the_size(stand_in, folder, capsys):
    names = []
    for i in range(5):
        names.append(f"{i}.jpg")
        (folder / names[-1]).write_text(f"0.{i}")
    assert main(["score", "--format", "json", "--batch-size", "2", *names]) == 0
    assert stand_in.calls == [names[:2], names[2:4], names[4:]]
    records = strict_json(capsys.readouterr().out)
    assert [record["path"] for record in records] == names
    assert [record["score"] for record in records] == [0.0, 0.1, 0.2, 0.3, 0.4]


# ------------------------------------------------------------------------------------------------------ wrong use
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "COMMAND"),
        (["score"], "PATH"),
        (["score", "a.jpg", "--batch-size", "0"], "must be at least 1, got 0"),
        (["score", "a.jpg", "--batch-size", "many"], "many"),
        (["score", "a.jpg", "--format", "xml"], "xml"),
        (["score", "a.jpg", "--model", "no-such-model"], "vital-tiny"),
        (["score", "a.jpg", "--model", "no-such-model"], "no-such-model"),
    ],
)
def test_wrong_use_is_told_on_stderr(argv, message, stand_in, folder, capsys):
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_help_and_version(capsys):
    assert main(["score", "--help"]) == 0
    assert "--batch-size" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert re.fullmatch(r"vital \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_messages_do_not_double_when_main_runs_twice(stand_in, folder, capsys):
    main(["score", "bad.png"])
    main(["score", "bad.png"])
    assert len(capsys.readouterr().err.splitlines()) == 2


# ---------------------------------------------------------------------------------------------- a process of its own
SLOW_MODEL = """
    import sys, time
    from types import SimpleNamespace
    from modeling_vital.cli import main, scoring, score_run

    class Slow:
        class config:
            level_words = ["high", "good", "fair", "poor", "low"]
        processor = SimpleNamespace(cutter=None)
        batches = 0
        def batch_limit(self, batch_size):
            return SimpleNamespace(items=batch_size, by_memory=False)
        def score_batches(self, batches, limit):
            return map(self.score, batches)
        def score(self, items):
            Slow.batches += 1
            if Slow.batches == 3:
                print("third batch", file=sys.stderr, flush=True)
                time.sleep({sleep_s})
            probs = dict.fromkeys(self.config.level_words, 0.2)
            result = SimpleNamespace(score=0.5, std=0.2, level="fair", level_probs=probs, modality="image")
            return [result for _ in items]

    def load(source, device):
        print("loading", file=sys.stderr, flush=True)
        time.sleep({load_s})
        return Slow()

    score_run.load_model = load
    score_run.open_calibration = lambda *asked: None  # and torch is not imported, which is most of a start
    scoring.Load = lambda *_: lambda item: SimpleNamespace(modality="video")
    sys.exit(main.main(sys.argv[1:]))
"""


@pytest.fixture
def start(tmp_path):
    """Starts `vital score` with a slow stand-in on enough files to fill a pipe, two at a time."""
    names = [str(tmp_path / f"{i}.jpg") for i in range(600)]
    started = []

    def start(*options, load_s=0, sleep_s=0, **kwargs):
        script = textwrap.dedent(SLOW_MODEL).replace("{load_s}", str(load_s)).replace("{sleep_s}", str(sleep_s))
        command = [sys.executable, "-c", script, "score", "--batch-size", "2", "--workers", "0", *options, *names]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # Buffered, as users run it: what is not flushed does not come out.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        process = subprocess.Popen(command, cwd=ROOT, env=env, text=True, **{**pipes, **kwargs})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in filter(None, (process.stdout, process.stderr)):
            stream.close()


def wait_for(stream, line, timeout_s=60):
    """Reads a stream up to a line, by bytes: `select` does not see what a buffer has read ahead."""
    text = b""
    while not text.endswith(f"{line}\n".encode()):
        assert select.select([stream], [], [], timeout_s)[0], f"no {line!r} within {timeout_s} s"
        byte = os.read(stream.fileno(), 1)
        assert byte, f"the stream ended before {line!r}"
        text += byte


def test_ctrl_c_leaves_valid_json_of_what_was_scored(start):
    process = start("--format", "json", sleep_s=60)
    wait_for(process.stderr, "third batch")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert len(strict_json(out)) == 4
    assert err == "vital: interrupted; what was scored so far is on stdout\n"


@pytest.mark.slow
def test_ctrl_c_while_the_model_loads_leaves_an_empty_array(start):
    process = start("--format", "json", load_s=60)
    wait_for(process.stderr, "loading")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert strict_json(out) == []
    assert "Traceback" not in err


@pytest.mark.slow
def test_ctrl_c_leaves_whole_rows_in_the_table(start):
    process = start(sleep_s=60)
    wait_for(process.stderr, "third batch")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert [line.split()[1] for line in out.splitlines()] == ["score", "0.500", "0.500", "0.500", "0.500"]


def test_rows_come_out_while_the_work_goes_on(start):
    process = start(sleep_s=60)
    wait_for(process.stderr, "third batch")
    assert select.select([process.stdout], [], [], 30)[0]
    assert process.stdout.readline().startswith("path")
    assert process.poll() is None


@pytest.mark.parametrize("format_", [pytest.param("json", marks=pytest.mark.slow), "table"])
def test_reader_that_goes_away_ends_it_without_a_traceback(start, format_):
    process = start("--format", format_)
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=30) == 141
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


@pytest.mark.slow
def test_progress_is_not_shown_off_a_terminal(start):
    process = start(sleep_s=2.5)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err.split("\n") == ["loading", "third batch", ""]


@pytest.mark.slow
@pytest.mark.parametrize(("sleep_s", "shown"), [(2.5, True), (0, False)])
def test_progress_is_shown_on_a_terminal_when_it_takes_long(start, sleep_s, shown):
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = start(sleep_s=sleep_s, stderr=end, stdout=subprocess.DEVNULL)
    os.close(end)
    text = b""
    with contextlib.suppress(OSError), open(terminal, "rb", buffering=0) as reader:  # closed at the other end: EIO
        while piece := reader.read(4096):
            text += piece
    assert process.wait(timeout=60) == 0
    assert (b"file/s" in text) == shown


@pytest.mark.slow
def test_table_survives_a_stdout_that_has_no_such_letters(tmp_path):
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    (tmp_path / "日本").mkdir()
    command = [sys.executable, "-m", "modeling_vital.cli.main", "score", str(tmp_path / "日本")]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "\\u65e5\\u672c" in done.stdout


def test_version_and_wrong_use_do_not_wait_for_torch():
    code = "import sys; from modeling_vital.cli.main import main; code = main(sys.argv[1:]); "
    code += "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules); sys.exit(code)"
    start = [sys.executable, "-c", code]
    for argv, expected in [(["--version"], 0), (["score"], 2), (["score", "x", "--model", "no-such-model"], 2)]:
        done = subprocess.run([*start, *argv], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == expected, done.stderr


def test_the_package_runs_as_the_command(monkeypatch, capsys):
    for argv, expected in [(["--version"], 0), (["score"], 2)]:
        told = []
        monkeypatch.setattr(sys, "argv", ["vital", *argv])
        for run in (main, lambda: runpy.run_module("modeling_vital", run_name="__main__")):
            try:
                code = run()
            except SystemExit as stop:
                code = stop.code
            assert code == expected
            told.append(capsys.readouterr())
        assert told[0] == told[1]


# ------------------------------------------------------------------------------------------------------ real models
@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder with a model of random weights."""
    path = tmp_path_factory.mktemp("checkpoint")
    tiny_model().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures")
    for name, shade in {"dark.png": 20, "light.png": 230}.items():
        Image.linear_gradient("L").point(lambda value, shade=shade: (value + shade) // 2).save(path / name)
    (path / "torn.png").write_bytes((path / "dark.png").read_bytes()[:100])
    return path


def vital(*argv):
    command = [sys.executable, "-m", "modeling_vital.cli.main", *map(str, argv)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def check_scored(record):
    probs = list(record["level_probs"].values())
    assert list(record["level_probs"]) == WORDS
    assert sum(probs) == pytest.approx(1)
    mean = sum(prob * centre for prob, centre in zip(probs, CENTRES, strict=True))
    assert record["score"] == pytest.approx(mean)
    variance = sum(prob * (centre - mean) ** 2 for prob, centre in zip(probs, CENTRES, strict=True))
    assert record["std"] == pytest.approx(math.sqrt(variance))
    assert record["level"] == WORDS[min(range(5), key=lambda i: abs(CENTRES[i] - mean))]


def test_model_from_a_folder(checkpoint, pictures):
    done = vital("score", "--format", "json", "--model", checkpoint, pictures)
    assert done.returncode == 1
    dark, light, torn = strict_json(done.stdout)
    for record in (dark, light):
        check_scored(record)
    assert dark["score"] != light["score"]
    assert torn["score"] is None
    assert "torn.png" in torn["error"]
    assert len(done.stderr.splitlines()) == 1, "only the failure is worth a message"


def test_command_and_python_give_the_same(checkpoint, pictures, capsys):
    assert main(["score", "--format", "json", "--model", str(checkpoint), str(pictures / "dark.png")]) == 0
    (record,) = strict_json(capsys.readouterr().out)
    model = load_model(str(checkpoint), "cpu")
    result = model.score(str(pictures / "dark.png"))
    assert record == {"path": str(pictures / "dark.png"), "error": None, **result.to_dict()}


def test_folder_that_is_no_checkpoint(tmp_path, pictures, capsys):
    assert main(["score", str(pictures), "--model", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert str(tmp_path) in err
    (tmp_path / "config.json").write_text("{}")
    assert main(["score", str(pictures), "--model", str(tmp_path), "--format", "json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert str(tmp_path) in err


def test_a_model_without_a_processor_is_wrong_use(checkpoint, pictures, tmp_path, capsys):
    bare = tmp_path / "no tokenizer"
    shutil.copytree(checkpoint, bare, ignore=shutil.ignore_patterns("processor*", "tokenizer*", "chat*"))
    assert main(["score", "--model", str(bare), str(pictures / "dark.png")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "has no processor" in err and len(err.splitlines()) == 1


def test_hub_model_that_cannot_be_reached(pictures, capsys):
    assert main(["score", str(pictures), "--model", "no-such-organisation/no-such-model"]) == 2
    assert "no-such-organisation/no-such-model" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda:99", "toaster"])
def test_device_that_is_not_there(device, checkpoint, pictures, capsys):
    assert main(["score", str(pictures), "--model", str(checkpoint), "--device", device]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"device {device!r} cannot be used" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", [["score", "."], ["audit", "vocab"]])
def test_a_device_that_cannot_hold_the_model(command, checkpoint, pictures, capsys, monkeypatch):
    def full(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    monkeypatch.chdir(pictures)
    monkeypatch.setattr(PreTrainedModel, "to", full)
    assert main([*command, "--model", str(checkpoint), "--device", "cpu"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "device 'cpu' cannot hold the model" in err and len(err.splitlines()) == 1


@pytest.fixture(scope="module")
def examples_scored():
    """What `vital score` makes of the example files with the embedded checkpoint."""
    return scored_in_batches("auto", EXAMPLES)


def scored_in_batches(size, *paths):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["score", "--format", "json", "--batch-size", size, "--workers", "0", *map(str, paths)]) == 0
    return strict_json(out.getvalue())


def test_embedded_checkpoint_scores_every_example(examples_scored):
    files = sorted(path for path in EXAMPLES.rglob("*") if path.suffix in (".jpg", ".png", ".webp", ".mp4", ".webm"))
    assert files
    assert sorted(record["path"] for record in examples_scored) == list(map(str, files))
    for record in examples_scored:
        check_scored(record)
        assert record["modality"] == ("video" if record["path"].endswith((".mp4", ".webm")) else "image")
    assert len({round(record["score"], 4) for record in examples_scored}) == len(examples_scored)


def test_scores_do_not_depend_on_what_shares_the_batch(examples_scored):
    together = {record["path"]: record for record in examples_scored}
    pictures, clips = ([p for p, r in together.items() if r["modality"] == kind] for kind in ("image", "video"))
    chosen = [*pictures[:2], clips[0]]
    for alone in scored_in_batches("1", *chosen):
        assert alone["score"] == pytest.approx(together[alone["path"]]["score"], abs=1e-4)


@pytest.mark.parametrize(
    "options, reason", [([], "--allow-urls"), (["--allow-urls"], "not public"), (["--allow-urls", "--map", "m"], None)]
)
def test_addresses_are_off_and_never_private(options, reason, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = main(["score", "http://127.0.0.1:9/photo.jpg", "--workers", "0", *options])
    said = capsys.readouterr()
    if reason is None:
        assert code == 2 and "--map" in said.err
    else:
        assert code == 1 and reason in said.out


def test_default_model_is_the_first_of_the_zoo():
    assert resolve_model("vital-tiny") == zoo.resolve(zoo.EMBEDDED[0])


def test_linear_probe_from_a_folder(pictures, tmp_path, capsys):
    from tests.fixtures.tiny_probes import tiny_probe

    probe = tiny_probe()
    probe.save_pretrained(tmp_path / "a probe")
    argv = ["score", str(pictures / "dark.png"), "--model", str(tmp_path / "a probe"), "--format", "json"]
    assert main(argv) == 0
    (record,) = strict_json(capsys.readouterr().out)
    check_scored(record)
    assert record["score"] == pytest.approx(probe.score(pictures / "dark.png").score, abs=1e-6)
