"""Reading ahead: order, bounds, and decoders that hang, crash or are killed."""

import contextlib
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modeling_vital import reading
from modeling_vital.cutting_vital import MediaCutter, Tiling
from modeling_vital.media_vital import MediaError
from modeling_vital.reading import _Loaded, read_ahead
from modeling_vital.video_processing_vital import FrameSampling, sample_frames
from tests.fixtures.loads import Touch, act, act_thrice, sleep


def gone(pid, within_s=5):
    for _ in range(int(within_s / 0.02)):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{pid}/stat")
        if status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True  # ended; whoever inherited it has not taken notice yet
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_the_order_of_the_items(workers):
    with read_ahead(iter(range(30)), act, workers=workers) as reader:
        results = list(reader)
    assert [item for item, _ in results] == list(range(30))
    assert all((value == item).all() and value.flags.writeable for item, value in results)
    assert list(reader) == []


def test_bad_items_cost_only_themselves():
    items = [1, "bad", "crash", 2, "hang", "kill", "memory", 3]
    results = dict(read_ahead(items, act, workers=1, timeout_s=0.5))
    assert [item for item, result in results.items() if isinstance(result, np.ndarray)] == [1, 2, 3]
    reasons = {
        "bad": "give another",
        "crash": "SIGSEGV",
        "hang": "0.5 s",
        "kill": "runs out",
        "memory": "memory",
    }
    for item, reason in reasons.items():
        assert isinstance(results[item], MediaError) and reason in str(results[item])
        assert repr(item) in str(results[item])


@pytest.mark.parametrize("workers", [0, 1])
def test_whatever_is_raised_costs_its_item_alone_and_is_named(workers):
    with read_ahead([1, "bug", "memory", 2], act, workers=workers) as reader:
        results = dict(reader)
    assert isinstance(results[1], np.ndarray) and isinstance(results[2], np.ndarray)
    assert isinstance(results["bug"], MediaError) and re.search("'bug'.*KeyError: 'a bug'", str(results["bug"]))
    assert isinstance(results["memory"], MediaError) and "'memory' needs more memory" in str(results["memory"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process allocates")
def test_a_worker_takes_no_more_than_its_memory():
    with read_ahead([1, "huge", 2], act, workers=1) as reader:
        results = dict(reader)
    assert isinstance(results[1], np.ndarray) and isinstance(results[2], np.ndarray)
    assert "'huge' needs more memory than there is" in str(results["huge"])


MPEG_TS = (b"\x47" + bytes(187)) * 3 + bytes(400)
GIVEN = {
    "bytes": lambda path: path.read_bytes(),
    "text": str,
    "path": Path,
    "row": lambda path: {"bytes": None, "path": str(path)},
}


@pytest.mark.parametrize(
    ("head", "words", "given"),
    [
        *((MPEG_TS, "mpegts has no index, so it is read through once", given) for given in GIVEN),
        (b"FLV\1" + bytes(400), "flv has no index", "path"),
        (b"\0\0\1\xba" + bytes(400), "mpeg has no index", "bytes"),
        (b"OggS" + bytes(400), "ogg has no index", "text"),
        (b"0&\xb2u" + bytes(400), "asf has no index", "path"),
        (b"\0\0\0\x18ftypisom" + bytes(400), "the decoder hangs", "row"),
        (b"\x89PNG" + bytes(400), "the decoder hangs", "bytes"),
    ],
)
def test_the_time_limit_says_what_took_the_time(tmp_path, head, words, given):
    (tmp_path / "a").write_bytes(head)
    with read_ahead([GIVEN[given](tmp_path / "a")], sleep, workers=1, timeout_s=0.2) as reader:
        ((_, error),) = reader
    assert "given up after 0.2 s" in str(error) and words in str(error)


def test_look_ahead_is_bounded(tmp_path):
    taken = []
    with read_ahead((taken.append(i) or i for i in range(50)), Touch(tmp_path), workers=1, ahead=5) as reader:
        assert taken == list(range(5))
        next(reader)
        time.sleep(0.2)
        assert taken == list(range(6))
        assert len(list(tmp_path.iterdir())) <= 6


def test_bytes_that_wait_are_bounded():
    taken = []
    with read_ahead((taken.append(i) or i for i in range(50)), act, workers=1, ahead=20, max_held_bytes=999) as reader:
        next(reader)
        time.sleep(0.3)  # the 20 begun at first have been loaded, and take over 1000 bytes
        next(reader)
        assert len(taken) <= 21
        assert len(list(reader)) == 48


def test_items_being_loaded_count_as_much_as_the_others():
    reader, done = read_ahead([], act, workers=0, max_held_bytes=99), Future()
    done.set_result(_Loaded(None, 40))
    reader._pending.append((1, Future()))
    assert reader._has_room()  # nothing is known of their size yet
    reader._pending.append((2, done))
    assert reader._has_room()  # 40 bytes, and 40 to come
    reader._pending.append((3, Future()))
    assert not reader._has_room()


def test_large_results_arrive_whole():
    with read_ahead(["large"], act, workers=1) as reader:
        ((_, values),) = reader
    assert values.shape == (3_000_001,) and values[-1] == 64 and (values[:-1] == np.arange(3_000_000) % 256).all()


@pytest.mark.parametrize("shared", [True, False])
def test_arrays_arrive_as_they_were_sent(shared, monkeypatch):
    if shared and not hasattr(os, "memfd_create"):
        pytest.skip("this system has no memory without a file to share")
    monkeypatch.setattr(reading, "_SHARES_MEMORY", shared)
    ours, theirs = multiprocessing.Pipe()
    arrays = [np.arange(200_000), np.zeros((0, 4), np.uint8), np.full((3, 2), 7, np.uint8)]
    sender = threading.Thread(target=reading._send, args=(theirs, (arrays, None, False)))
    sender.start()
    loaded, error, more = reading._receive(ours)
    sender.join()
    assert error is None and not more and loaded.num_bytes > sum(array.nbytes for array in arrays)
    for sent, got in zip(arrays, loaded.value, strict=True):
        assert got.dtype == sent.dtype and np.array_equal(got, sent) and got.flags.writeable


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only there is memory without a file to share")
def test_this_process_copies_nothing_of_a_large_array():
    def counts():
        return len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count("memfd:vital")

    with read_ahead(["large"] * 3, act, workers=1) as reader:
        held, handles = [], set()
        for number, (_, values) in enumerate(reader, 1):
            held.append(values)
            handles.add(counts()[0])
            assert counts()[1] >= number
        assert len(handles) == 1  # the worker's; of the arrays, none is kept
    del values, held
    assert counts()[1] == 0


@pytest.mark.parametrize("state", ["busy", "idle"])
def test_closing_leaves_no_child(state):
    reader = read_ahead(["pid", "hang" if state == "busy" else 1], act, workers=1)
    _, pid = next(reader)
    time.sleep(0.1)
    began = time.monotonic()
    reader.close()
    assert gone(pid) and time.monotonic() - began < 5
    assert list(reader) == []


def test_an_abandoned_reader_leaves_no_child():
    reader = read_ahead(["pid", "hang"], act, workers=1)
    _, pid = next(reader)
    del reader
    assert gone(pid)


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGKILL"])
def test_no_child_outlives_its_parent(signal_name):
    code = (
        "import sys\nfrom modeling_vital.reading import _Loaded, read_ahead\nfrom tests.fixtures.loads import act\n"
        "if __name__ == '__main__':\n"
        "    for _, pid in read_ahead(['pid', 'hang'], act, workers=1, timeout_s=1):\n"
        "        print(pid, flush=True)\n"
    )
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    parent = subprocess.Popen(command, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    pid = int(parent.stdout.readline())
    time.sleep(0.1)
    parent.send_signal(getattr(__import__("signal"), signal_name))
    parent.wait(10)
    assert gone(pid, within_s=2 if signal_name == "SIGINT" else 20)


def test_workers_need_no_torch_for_media(tmp_path):
    Image.new("RGB", (8, 6), "red").save(tmp_path / "a.png")
    with read_ahead([tmp_path / "a.png", tmp_path / "b.png"], MediaCutter(Tiling(tile_size=8)), workers=1) as reader:
        (_, picture), (_, missing) = reader
    assert picture.tiles.shape == (1, 8, 8, 3) and (picture.tiles == (255, 0, 0)).all()
    assert isinstance(missing, MediaError) and "does not exist" in str(missing)
    with read_ahead(["modules"], act, workers=1) as reader:
        ((_, modules),) = reader
    assert "modeling_vital.media_vital" in modules and "torch" not in modules and "transformers" not in modules


def test_clips_come_cut_with_the_frames_that_are_looked_at():
    frames = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), np.uint8)
    cutter = MediaCutter(Tiling(tile_size=8), motion_size=4, sampling=FrameSampling(max_motion_frames=8))
    with read_ahead([frames], cutter, workers=1) as reader:
        ((_, clip),) = reader
    choice = sample_frames(50, 30.0, cutter.sampling)
    assert (clip.modality, clip.num_tiles, clip.motion_lengths) == ("video", [1], [8])
    assert np.array_equal(clip.tiles, frames[choice.key_frames])
    assert clip.motion_frames.shape == (8, 4, 4, 3)
    with pytest.raises(MediaError, match=" 16 frames .* 3;"):
        MediaCutter(sampling=FrameSampling.released_score_less_token())(frames[:3])


def test_what_cannot_be_started_or_sent_says_so():
    with pytest.raises(ValueError, match="ahead >= 1"):
        read_ahead([], act, ahead=0)
    with pytest.raises((AttributeError, Exception), match="lambda"):
        read_ahead([1], lambda item: item, workers=1)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_parts_come_in_the_order_of_the_items(workers):
    with read_ahead(range(7), act_thrice, workers=workers) as reader:
        for number, (item, parts) in enumerate(reader):
            assert item == number
            first, *rest = parts
            assert (first == 1).all() and [(part == item).all() for part in rest] == [True, True]
    assert number == 6


@pytest.mark.parametrize(
    "item, reason", [("bad", "give another"), ("bug", "a bug"), ("crash", "SIGSEGV"), ("hang", "0.5 s")]
)
def test_what_goes_wrong_after_the_first_part_costs_its_item_alone(item, reason):
    with read_ahead([1, item, 2], act_thrice, workers=1, timeout_s=0.5) as reader:
        seen = []
        for _, parts in reader:
            with contextlib.suppress(MediaError):
                seen.append(0)
                for _ in parts:
                    seen[-1] += 1
        assert seen == [3, 1, 3]
    with read_ahead([item], act_thrice, workers=1, timeout_s=0.5) as reader:
        (_, parts) = next(reader)
        next(parts)
        with pytest.raises(MediaError, match=reason):
            next(parts)


def test_parts_that_nobody_wants_are_dropped():
    with read_ahead(range(4), act_thrice, workers=1) as reader:
        assert [item for item, parts in reader if item % 2 or next(parts) is not None] == [0, 1, 2, 3]
    with read_ahead(range(4), act_thrice, workers=2) as reader:
        next(reader)  # and the reader is left


def test_a_slow_reader_of_parts_is_no_fault_of_the_worker():
    with read_ahead([5], act_thrice, workers=1, timeout_s=0.5) as reader:
        _, parts = next(reader)
        seen = []
        for part in parts:
            time.sleep(0.7)
            seen.append(part)
    assert len(seen) == 3


def test_a_reader_may_be_forgotten_where_another_starts_a_worker():
    """The garbage collector runs anywhere: a command hung for good when it did so there."""
    reader = read_ahead([1, 2, 3], act, workers=1)
    next(reader)

    def start():
        nonlocal reader
        with reading._STARTING:
            reader = None

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
