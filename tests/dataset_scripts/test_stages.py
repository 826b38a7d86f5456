"""Collecting, planning, distorting, annotating, pairing: what every row follows from, and what is written down."""

import itertools
import json
import os
import tarfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import dataset_scripts
from dataset_scripts import stages
from dataset_scripts.annotators import ANNOTATORS
from dataset_scripts.annotators.human_scale import annotate_item
from dataset_scripts.build_config import BuildConfig, BuildError, SettingsError, load_recipe
from dataset_scripts.collect import collect, split_of
from dataset_scripts.distortions import IMAGE_DISTORTIONS, VIDEO_DISTORTIONS, distort_image, tag
from dataset_scripts.encoding import decode
from dataset_scripts.engines import LocalEngine
from dataset_scripts.pipeline import run_stages, stage_report
from dataset_scripts.pmod import pmod
from dataset_scripts.staging import Staging
from modeling_vital.levels_vital import preference_probability
from tests.fixtures.tiny_media import photo, recipe, write_folder


def config_of(folder, **sections):
    return BuildConfig.from_dict(recipe(folder, **sections))


def collected(config, root):
    staging = Staging(root)
    staging.prepare(config)
    with LocalEngine() as engine:
        shards = collect(config, staging, engine.map)
    rows = [row for shard in range(shards) for row in staging.read("collect", shard)]
    return staging, rows, {drop["name"]: (drop["reason"], drop["detail"]) for drop in staging.drops()}


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def test_copies_and_damage_are_left_out_with_their_reasons(tmp_path):
    folder = tmp_path / "in"
    save(folder / "a.png", photo(1))
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes())
    save(folder / "c.jpg", photo(1), quality=85)
    save(folder / "d.png", photo(1)[:, ::-1])
    save(folder / "e.png", photo(2))
    (folder / "f.png").write_bytes((folder / "a.png").read_bytes()[:500])
    (folder / "g.mp4").write_bytes(b"")
    _, rows, drops = collected(config_of(folder), tmp_path / "staging")
    assert [row["name"] for row in rows] == ["a.png", "e.png"]
    assert drops["tiny/b.png"][0] == "exact copy"
    assert drops["tiny/c.jpg"] == ("near copy", "looks like tiny/a.png")
    assert drops["tiny/d.png"] == ("near copy", "is a mirror image of tiny/a.png")
    assert drops["tiny/f.png"][0] == drops["tiny/g.mp4"][0] == "unreadable"
    assert str(folder) not in json.dumps(list(drops.values()))  # where files lie here is not published


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
@pytest.mark.parametrize("place", [b"gr\xfcn.png", b"caf\xe9/b.png", b"broken \xff.mp4"])
def test_a_name_in_another_encoding_is_left_out_and_costs_nothing_else(place, tmp_path):
    folder = tmp_path / "in"
    save(folder / "a.png", photo(1))
    save(folder / "b.png", photo(2))
    (folder / os.fsdecode(place)).parent.mkdir(exist_ok=True)
    (folder / "b.png").rename(folder / os.fsdecode(place))
    _, rows, drops = collected(config_of(folder), tmp_path / "staging")
    assert [row["name"] for row in rows] == ["a.png"]
    ((name, (reason, detail)),) = drops.items()
    assert name == f"tiny/{ascii(os.fsdecode(place))[1:-1]}" and reason == "not UTF-8"
    assert "rename the file" in detail and str(folder) not in detail


@pytest.mark.parametrize("name", ["a\u2028b.png", "a\x85b.png", "a\nb.png"])
def test_a_dropped_name_may_hold_what_ends_a_line_elsewhere(name, tmp_path):
    save(tmp_path / "in" / "a.png", photo(1))
    (tmp_path / "in" / name).write_bytes(b"no picture")
    _, _, drops = collected(config_of(tmp_path / "in"), tmp_path / "staging")
    assert drops[f"tiny/{name}"][0] == "unreadable"


TURNS = {
    "90": lambda pixels: np.rot90(pixels),
    "180": lambda pixels: np.rot90(pixels, 2),
    "270": lambda pixels: np.rot90(pixels, 3),
    "mirrored and turned": lambda pixels: np.rot90(pixels[:, ::-1]),
    "turned and smaller": lambda pixels: np.asarray(Image.fromarray(np.rot90(pixels).copy()).reduce(2)),
}


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("seed", range(3))
def test_a_turned_copy_stays_with_its_original(name, seed, tmp_path):
    save(tmp_path / "in" / "a.png", photo(seed))
    save(tmp_path / "in" / "b.png", np.ascontiguousarray(TURNS[name](photo(seed))))
    save(tmp_path / "in" / "c.png", photo(seed + 10))
    _, rows, _ = collected(config_of(tmp_path / "in"), tmp_path / "staging")
    groups = {row["name"]: row["content_id"] for row in rows}
    assert groups["a.png"] == groups["b.png"] != groups["c.png"]
    assert rows[0]["split"] == rows[1]["split"]


def test_a_turn_of_another_stated_content_is_left_out(tmp_path):
    save(tmp_path / "a.png", photo(1))
    save(tmp_path / "b.png", np.ascontiguousarray(np.rot90(photo(1))))
    (tmp_path / "list.csv").write_text("path,content_id\na.png,x\nb.png,y\n")
    config = config_of(tmp_path, sources=[{"kind": "manifest", "path": str(tmp_path / "list.csv"), "name": "m"}])
    _, rows, drops = collected(config, tmp_path / "staging")
    assert [row["name"] for row in rows] == ["a.png"]
    assert drops["m/b.png"] == ("near copy", "is a turn of x, not of its group y")


def test_copies_of_one_stated_content_stay_together(tmp_path):
    save(tmp_path / "a.png", photo(1))
    save(tmp_path / "a.jpg", photo(1), quality=85)
    save(tmp_path / "b.png", photo(2))
    save(tmp_path / "c.png", photo(3))
    table = tmp_path / "list.csv"
    lines = ["path,content_id,split", "a.png,x,test", "a.jpg,x,", "b.png,x,train", "c.png,y,holdout"]
    table.write_text("\n".join(lines))
    config = config_of(tmp_path, sources=[{"kind": "manifest", "path": str(table), "name": "m"}])
    _, rows, drops = collected(config, tmp_path / "staging")
    assert [(row["name"], row["content_id"], row["split"]) for row in rows] == [
        ("a.png", "x", "test"),
        ("a.jpg", "x", "test"),
    ]
    assert drops["m/b.png"] == ("split contradicts its group", "x is in test, asks for train")
    assert drops["m/c.png"][0] == "unknown split"


def test_splits_have_their_shares_and_do_not_move(tmp_path):
    config = config_of(tmp_path, collect={"test_share": 0.2, "validation_share": 0.1}).collect
    names = [f"content-{number}" for number in range(4000)]
    found = Counter(split_of(name, config) for name in names)
    assert found["test"] / 4000 == pytest.approx(0.2, abs=0.02)
    assert found["validation"] / 4000 == pytest.approx(0.1, abs=0.02)
    config.validation_share = 0.3
    assert Counter(split_of(name, config) for name in names)["test"] == found["test"]


def test_items_per_source_is_a_limit(tmp_path):
    _, rows, _ = collected(config_of(write_folder(tmp_path / "in"), collect={"items_per_source": 3}), tmp_path / "s")
    assert len(rows) == 3


def test_nothing_usable_is_an_error(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    with pytest.raises(BuildError, match=" tiny"):
        collected(config_of(folder), tmp_path / "staging")
    assert [drop["reason"] for drop in Staging(tmp_path / "staging").drops()] == ["unreadable"]


def test_a_file_that_changes_between_stages_is_left_out(tmp_path):
    folder = write_folder(tmp_path / "in", photos=2, clips=0)
    config = config_of(folder)
    staging, rows, _ = collected(config, tmp_path / "staging")
    save(folder / "photo 0.png", photo(9))
    versions, drops = stages.distort(staging, 0, config)
    assert [drop.reason for drop in drops] == ["changed"]
    assert {row["item_id"] for row in versions} == {row["item_id"] for row in rows if row["name"] != "photo 0.png"}


def test_plan_gives_couples_of_one_distortion_and_covers_all_before_repeating(tmp_path):
    config = config_of(tmp_path, distort={"variants_per_item": 50, "chain_share": 0.0})
    plan = [stages.plan_steps(config, "ab12", "image", variant) for variant in range(51)]
    assert plan[0] == []
    couples = [(plan[index], plan[index + 1]) for index in range(1, 51, 2)]
    assert all(a[0][0] == b[0][0] and a[0][1] != b[0][1] for a, b in couples)
    assert sorted(a[0][0] for a, _ in couples) == sorted(IMAGE_DISTORTIONS)
    clip = [stages.plan_steps(config, "ab12", "video", v)[0][0] for v in range(1, 51)]
    share = sum(name in VIDEO_DISTORTIONS for name in clip) / 50
    assert 0.4 < share < 0.95


def test_plan_depends_on_seed_original_and_version_alone(tmp_path):
    few, many = (config_of(tmp_path, distort={"variants_per_item": count}) for count in (4, 12))
    assert [stages.plan_steps(few, "ab", "image", v) for v in range(5)] == [
        stages.plan_steps(many, "ab", "image", v) for v in range(5)
    ]
    other_seed = config_of(tmp_path, seed=1)
    plans = [
        [stages.plan_steps(config, item, "image", v) for v in range(5)]
        for config, item in ((few, "ab"), (few, "ac"), (other_seed, "ab"))
    ]
    assert plans[0] != plans[1] and plans[0] != plans[2]


def test_chains_happen_as_often_as_asked(tmp_path):
    config = config_of(tmp_path, distort={"variants_per_item": 4, "chain_share": 0.25})
    plans = [stages.plan_steps(config, f"{item:x}", "image", v) for item in range(100) for v in range(1, 5)]
    assert sum(len(plan) == 2 for plan in plans) / 400 == pytest.approx(0.25, abs=0.07)
    assert all(plan[0][0] != plan[1][0] for plan in plans if len(plan) == 2)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A build of four pictures and a clip whose stages are finished."""
    root = tmp_path_factory.mktemp("built")
    config = config_of(write_folder(root / "in"), distort={"chain_share": 0.3})
    staging = Staging(root / "staging")
    with LocalEngine() as engine:
        shards = run_stages(config, staging, engine)

    def read(stage):
        return [row for shard in range(shards) for row in staging.read(stage, shard)]

    return SimpleNamespace(config=config, staging=staging, read=read, shards=shards)


def test_stored_pictures_are_what_the_distortion_gave(built):
    versions = {(row["item_id"], row["variant"]): row for row in built.read("distort") if row["modality"] == "image"}
    for (item, variant), row in versions.items():
        pixels = decode(versions[item, 0]["data"])
        rng = stages.rng_of(built.config, item, stages._VERSION, variant, 1)
        with stages.steady_opencv():  # else the last bit of a pixel may differ
            for step, seed in zip(row["steps"], rng.integers(2**63, size=len(row["steps"])), strict=True):
                pixels = distort_image(pixels, step["type"], step["severity"], np.random.default_rng(int(seed)))
        np.testing.assert_array_equal(decode(row["data"]), pixels)


def test_opinions_can_be_computed_again_from_the_stored_files(built):
    versions, opinions = built.read("distort"), built.read("annotate")
    originals = {row["item_id"]: row for row in versions if row["variant"] == 0}
    names = built.config.annotate.image_annotators
    for version, opinion in zip(versions, opinions, strict=True):
        if version["modality"] == "video":
            continue
        scores = annotate_item(decode(version["data"]), decode(originals[version["item_id"]]["data"]), names)
        assert json.loads(opinion["scores"]) == pytest.approx(scores, abs=1e-6)
        target = pmod(np.array([[json.loads(opinion["scores"])[name] for name in names]]))
        assert opinion["mos"] == target.mean[0] and opinion["level_probs"] == target.level_probs[0].tolist()


def test_originals_are_rows_and_the_best_of_their_kind(built):
    for row in built.read("annotate"):
        if row["variant"] == 0:
            assert row["mos"] > 0.9
    assert {row["variant"] for row in built.read("annotate")} == set(range(5))


def test_tags_say_what_was_done_and_chains_have_none(built):
    lengths = Counter()
    for version, text in zip(built.read("distort"), built.read("interpret"), strict=True):
        steps = version["steps"]
        lengths[len(steps)] += 1
        expected = {0: "none", 1: steps and tag(steps[0]["type"], steps[0]["severity"]), 2: None}[len(steps)]
        assert text["tag"] == expected and text["descriptions"] == []
    assert lengths[0] and lengths[1] and lengths[2]


def test_pairs_are_of_one_original_and_prefer_the_better(built):
    mos = {(row["item_id"], row["variant"]): row for row in built.read("annotate")}
    pairs = built.read("pair")
    per_item = Counter(pair["item_id"] for pair in pairs)
    assert set(per_item.values()) == {built.config.pair.pairs_per_item}
    assert len({(p["item_id"], *sorted((p["first"], p["second"]))) for p in pairs}) == len(pairs)
    for pair in pairs:
        first, second = (mos[pair["item_id"], pair[side]] for side in ("first", "second"))
        prob = preference_probability(first["mos"], first["std"], second["mos"], second["std"])
        assert pair["preference_prob"] == prob
        assert pair["preference"] == (1.0 if prob >= 0.6 else 0.0 if prob <= 0.4 else 0.5)


@pytest.mark.parametrize(
    ("prob", "preference"), [(0.6, 1.0), (0.59, 0.5), (0.5, 0.5), (0.41, 0.5), (0.4, 0.0), (1.0, 1.0), (0.0, 0.0)]
)
def test_preference_of_a_probability(prob, preference):
    assert stages.preference_of(prob, 0.6) == preference


def test_an_annotator_that_fails_leaves_a_reason_and_keeps_the_row(built, monkeypatch):
    def fail(self, item, reference):
        raise RuntimeError("out of order")

    monkeypatch.setattr(ANNOTATORS["mdsi"], "score", fail)
    rows, drops = stages.annotate(built.staging, 0, built.config)
    images = [row["modality"] == "image" for row in built.staging.read("distort", 0)]
    assert len(rows) == len(images) and sum(images) == 5
    for row in itertools.compress(rows, images):
        assert row["n_opinions"] == 2 and row["mos"] is None and row["level_probs"] is None
        assert json.loads(row["errors"]) == {"mdsi": "RuntimeError: out of order"}
        assert json.loads(row["scores"])["mdsi"] is None
    assert {drop.reason for drop in drops} == {"fewer than 3 opinions, no score"}
    assert sum(drop.detail == "mdsi: RuntimeError: out of order" for drop in drops) == 5

    two_are_enough = config_of("unused", annotate={"min_opinions": 2})
    rows, drops = stages.annotate(built.staging, 0, two_are_enough)
    assert not drops and all(row["mos"] is not None for row in rows)


def test_a_distortion_that_fails_costs_its_version_only(built, monkeypatch):
    def fail(image, steps, rng):
        if steps:
            raise ValueError(f"no {steps[0][0]} today")
        return image

    monkeypatch.setattr(stages, "distort_steps", fail)
    rows, drops = stages.distort(built.staging, 1, built.config)
    items = [row for row in built.staging.read("collect", 1) if row["modality"] == "image"]
    assert len([row for row in rows if row["modality"] == "image"]) == len(items)  # the originals
    assert len(drops) == len(items) * 4
    assert {drop.reason for drop in drops} == {"distortion failed"} and "today" in drops[0].detail


def numbered_interpreter(prefix):
    """Describes a version by its id and size; the versions 1 are refused, the versions 2 fail."""

    def interpret(version, pixels):
        if version.endswith("v1"):
            rejected = SimpleNamespace(text="It is good.", step="judge", reason="empty phrase")
            return SimpleNamespace(kept=(), rejected=(rejected,), error=None)
        if version.endswith("v2"):
            return SimpleNamespace(kept=(), rejected=(), error="no answer after 3 tries")
        text = f"{prefix} {version} is {pixels.shape[-2]} wide."
        return SimpleNamespace(kept=(text, "A second sentence."), rejected=(), error=None)

    return interpret


REFUSAL = SimpleNamespace(text="", step="refused", reason="HTTP 400")
ABSENT = SimpleNamespace(kept=(), rejected=(), error="no answer after 3 tries")
REFUSED = SimpleNamespace(kept=(), rejected=(REFUSAL,), error=None)
SILENT = SimpleNamespace(kept=(), rejected=(), error=None)


@pytest.mark.parametrize(
    ("answers", "items", "reason"),
    [
        ([ABSENT, ABSENT], "aa", "no answer"),
        ([ABSENT, REFUSED], "aa", "HTTP 400"),
        ([REFUSED, REFUSED], "ab", None),  # asking again does not help
        ([ABSENT, SILENT], "ab", None),
        ([], "", None),
    ],
)
def test_a_shard_about_which_no_model_answers_is_not_finished(answers, items, reason, monkeypatch):
    about = {"steps": [], "data": b"", "source": "s", "name": "n"}
    versions = [{"item_id": item, "variant": number, **about} for number, item in enumerate(items)]
    left = list(answers)
    monkeypatch.setattr(stages, "decode", lambda data: None)
    monkeypatch.setattr(stages, "_interpreter", lambda factory, options: lambda name, pixels: left.pop(0))
    config = config_of("unused", interpret={"interpreter": f"{__name__}:numbered_interpreter", "threads": 1})
    staging = SimpleNamespace(read=lambda stage, shard: versions)
    if reason is None:
        rows, _ = stages.interpret(staging, 7, config)
        assert [row["descriptions"] for row in rows] == [[]] * len(items)
    else:
        with pytest.raises(BuildError, match=f"shard 7 .*{reason}"):
            stages.interpret(staging, 7, config)


def test_descriptions_are_kept_and_refusals_written_down(built):
    section = {"interpreter": f"{__name__}:numbered_interpreter", "options": {"prefix": "Item"}, "threads": 3}
    config = config_of("unused", interpret=section)
    rows, drops = stages.interpret(built.staging, 0, config)
    versions = built.staging.read("distort", 0)
    for version, row in zip(versions, rows, strict=True):
        name = stages.variant_id(version)
        width = decode(version["data"]).shape[-2]
        expected = [f"Item {name} is {width} wide.", "A second sentence."] if version["variant"] not in (1, 2) else []
        assert row["descriptions"] == expected
    refused = [drop for drop in drops if drop.reason == "text: judge"]
    assert refused and refused[0].detail == "It is good. (empty phrase)"
    assert {drop.detail for drop in drops if drop.reason == "no description"} == {"no answer after 3 tries"}
    assert len(drops) == sum(version["variant"] in (1, 2) for version in versions)


def test_small_and_short_originals_are_left_out(tmp_path):
    folder = write_folder(tmp_path / "in", photos=1, clips=1)
    save(folder / "small.png", photo(7, 160, 50))
    config = config_of(folder, distort={"least_clip_frames": 20, "variants_per_item": 0})
    staging = Staging(tmp_path / "staging")
    with LocalEngine() as engine:
        run_stages(config, staging, engine)
    drops = {drop["name"]: drop["reason"] for drop in staging.drops()}
    assert drops == {"tiny/small.png": "too small", "tiny/clip0.mp4": "too short"}
    report = stage_report(staging)
    assert report["collect"]["rows_out"] == report["distort"]["rows_in"] == 3
    assert report["distort"]["rows_out"] == 1 and report["distort"]["dropped"] == {"too short": 1, "too small": 1}


def test_originals_given_as_bytes_make_the_same_rows(tmp_path):
    folder = write_folder(tmp_path / "in", photos=2, clips=1)
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for file in sorted(folder.rglob("*.*")):
            tar.add(file, file.name.replace(" ", "_"))
    shards = [{"kind": "webdataset", "path": str(tmp_path / "shard.tar"), "name": "tiny"}]
    found = []
    for number, section in enumerate(({}, {"sources": shards})):
        staging = Staging(tmp_path / f"staging{number}")
        with LocalEngine() as engine:
            count = run_stages(config_of(folder, **section), staging, engine)
        rows = [row for shard in range(count) for row in staging.read("distort", shard)]
        found.append(sorted((row["item_id"], row["variant"], row["data"]) for row in rows))
    assert found[0] == found[1] and len(found[0]) == 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": []}, "--source.*`sources`"),
        ({"seed": "a"}, "recipe: seed .*'a'"),
        ({"zap": 1}, "recipe .*'zap'"),
        ({"distort": {"chain": 1}}, "recipe: distort .*'chain'"),
        ({"distort": {"variants_per_item": 2.5}}, "distort: variants_per_item .* 2.5"),
        ({"distort": {"image_distortions": ["stutter"]}}, "image_distortions: 'stutter' .*videos"),
        ({"distort": {"image_distortions": ["fog"]}}, "image_distortions: .*'fog'"),
        ({"annotate": {"image_annotators": ["ssim"]}}, "image_annotators .* 1 .*min_opinions .* 3"),
        ({"annotate": {"clip_annotators": ["ssim", "gmsd", "mdsi"]}}, "clip_annotators: 'ssim' .*image"),
        ({"annotate": {"image_annotators": ["a", "b", "c"]}}, "image_annotators: .*'a'"),
        ({"collect": {"test_share": 0.9, "validation_share": 0.2}}, "test_share and validation_share"),
        ({"pair": {"tie_probability": 0.5}}, "tie_probability .*0.5"),
        ({"interpret": {"interpreter": "os:nothing"}}, "'os:nothing'.*module:name"),
    ],
)
def test_wrong_settings_are_named(tmp_path, change, message):
    with pytest.raises(SettingsError, match=message):
        BuildConfig.from_dict({**recipe(tmp_path), **change})


def test_recipes_in_the_tree_are_valid():
    found = list((Path(dataset_scripts.__file__).parent / "recipes").glob("*.yaml"))
    assert found
    for path in found:
        BuildConfig.from_dict(load_recipe(path))


def test_settings_survive_being_written(tmp_path):
    config = config_of(tmp_path, seed=3)
    assert BuildConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
