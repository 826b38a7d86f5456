"""Rows made on the fly, groups of versions as items, and the stages of `vital-tiny` that learn from them."""

import itertools
import math

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from skimage import data as pictures
from transformers import AutoTokenizer

from dataset_scripts.rows import LabelledVersion, group_row
from modeling_vital.levels_vital import preference_probability
from modeling_vital.video_processing_vital import FrameSampling
from modeling_vital.zoo import resolve
from tests.fixtures.tiny_models import tiny_model
from training.collators import RowError, VitalCollator
from training.data import DataArguments, TrainingData, fresh_tables, load_data, make_data, scoring_rows
from training.encoder_stage import KINDS, EncoderCollator
from training.losses import LossConfig, multi_task_loss
from training.tiny.__main__ import STEPS
from training.tiny.groups import TABLES, FreshGroups
from training.tiny.model import FOLDER, ModelConfig, build_decoder, build_model, read_tokenizer
from training.tiny.originals import DataConfig, Originals, pan_and_zoom
from training.tiny.sample import write_sample
from training.trainer import VitalTrainer, VitalTrainingConfig, encoders, mirror


PHOTOS = {"astronaut": pictures.astronaut()[:300, :300], "coffee": pictures.coffee()[:260, :300]}
MIXTURE = {"tiles": 3.0, "wholes": 1.0, "clips": 1.0}


@pytest.fixture(scope="module")
def originals():
    return Originals(PHOTOS, {"pan": pan_and_zoom(pictures.coffee(), 24, np.random.default_rng(0))})


def config_of(**changes):
    settings = {
        "rule": {
            "annotators": ["gmsd", "mdsi", "detail"],
            "clip_annotators": ["frame_gmsd", "temporal_gradient", "frame_detail"],
        },
        "plan": {"versions": 3},
        "clip_distortions": ["stutter", "flicker"],
        "clip_frames": [8, 8],
        "grids": [[2, 1, 1]],
        "rows": 40,
    }
    return DataConfig(**{**settings, **changes})


def tables_of(originals, processor, **changes):
    tables = {name: FreshGroups(name, originals, processor, config_of(**changes), seed=3) for name in TABLES}
    for table in tables.values():
        table.tile_size = 72  # the test model's, 32, is too small for the annotators
    return tables


def fresh_data(originals, processor, mixture=None, **changes) -> TrainingData:
    tables = tables_of(originals, processor, **changes)
    ratios = mixture or MIXTURE
    args = DataArguments(bucket_batches=2)
    return make_data({name: tables[name] for name in ratios}, ratios, None, processor, args, seed=0)


@pytest.mark.parametrize("table", TABLES)
def test_a_row_depends_on_seed_table_and_index_alone(originals, table):
    processor = tiny_model().processor
    rows, again = (tables_of(originals, processor)[table] for _ in range(2))
    first, other = rows[3], rows[4]
    shown = {"clips": "videos"}.get(table, "images")
    for a, b in zip(first[shown], again[3][shown], strict=True):
        assert np.array_equal(a["pixels"], b["pixels"])
    assert first["messages"] == again[3]["messages"] and first["preference"] == again[3]["preference"]
    assert not np.array_equal(first[shown][-1]["pixels"], other[shown][-1]["pixels"])
    assert len(rows) == len(rows.visual_tokens) == 40


def test_few_originals_have_a_text(originals):
    processor = tiny_model().processor
    for share, expected in ((0.0, {False}), (1.0, {True})):
        table = tables_of(originals, processor, none_share=share)["tiles"]
        found = [
            text is not None
            for row in map(table.__getitem__, range(6))
            for distortion, text in zip(row["distortion"], row["texts"], strict=True)
            if distortion["type"] == "none"
        ]
        assert found and set(found) == expected


def test_the_pairs_of_a_group_prefer_the_better_version():
    versions = [
        LabelledVersion({"pixels": np.zeros((64, 64, 3), np.uint8)}, "image", mos, 0.05, [0.2] * 5)
        for mos in (0.3, 0.9, 0.31, 0.5)
    ]
    row = group_row("g", versions)
    by_pair = dict(zip(itertools.combinations(range(4), 2), row["preference"], strict=True))
    assert by_pair == {(0, 1): 0.0, (0, 2): 0.5, (0, 3): 0.0, (1, 2): 1.0, (1, 3): 1.0, (2, 3): 0.0}
    assert preference_probability(0.9, 0.05, 0.3, 0.05) > 0.99


def group_of_three(texts=(None, "The distortion of the image is none.", None)):
    rng = np.random.default_rng(0)
    probs = [[0.8, 0.2, 0, 0, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0, 0.2, 0.8]]
    versions = [
        LabelledVersion({"pixels": rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)}, "image", mos, 0.05, p)
        for mos, p in zip((0.86, 0.4, 0.14), probs, strict=True)
    ]
    return {**group_row("g", versions), "texts": list(texts)}


def test_a_group_in_a_batch_encodes_each_picture_once_and_says_the_same():
    model = tiny_model().eval()
    collator = VitalCollator(model.processor, {"groups": [group_of_three()]})
    batch = model.processor.normalize_inputs(collator([{"table": "groups", "row": 0}]), "cpu")
    targets = batch.pop("targets")
    assert len(batch["input_ids"]) == 4 and len(batch["pixel_values"]) == 3
    assert batch["tile_index"].tolist() == [0, 1, 2, 1]  # the text is about the second
    assert targets["pairs"].tolist() == [[0, 1], [0, 2], [1, 2]] and targets["preference"].tolist() == [1.0] * 3
    assert targets["level_mask"].any(-1).tolist() == [True, True, True, False]
    calls = []
    model.model.vision_tower.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    with torch.no_grad():
        once = model(**batch).logits
        shown = batch.pop("tile_index")
        repeated = model(**{**batch, "pixel_values": batch["pixel_values"][shown]}).logits
    assert calls[0] == 3
    torch.testing.assert_close(once, repeated, atol=1e-5, rtol=1e-4)


def test_rows_of_one_file_are_encoded_once(data):
    model = tiny_model()
    collator = VitalCollator(model.processor, data.tables)
    batch = collator([{"table": "scoring", "row": 0}, {"table": "distortion", "row": 0}])
    assert len(batch["input_ids"]) == 2
    assert 2 * len(batch["pixel_values"]) == len(batch["tile_index"])


def test_pixels_of_later_rows_are_never_taken_for_those_that_are_gone(originals):
    """A freed array's id is given to the next: 13 steps into the first run, a picture was read as a clip."""
    processor = tiny_model().processor
    tables = tables_of(originals, processor)
    collator = EncoderCollator(processor, tables)
    examples = [{"table": name, "row": row} for row in range(6) for name in ("tiles", "clips")]
    batch = collator(examples)
    expected = [tables[e["table"]][e["row"]] for e in examples]
    counted = [len(row["images"]) or -len(row["videos"]) for row in expected]
    assert counted == [3, -3] * 6
    tiles = [processor.prepare(image["pixels"]) for row in expected for image in row["images"]]
    assert torch.equal(batch["pixel_values"], torch.cat([torch.tensor(m.tiles[:1]) for m in tiles]))


def level_logits(rows):
    """One label a row, the level word, after logits of the level words alone."""
    return torch.tensor(rows).log().unsqueeze(1)  # [rows, 1, 5]


@pytest.mark.parametrize("text_weight", [1.0, 4.0])
def test_the_loss_of_a_group_by_hand(text_weight):
    predicted = [[0.5, 0.2, 0.1, 0.1, 0.1], [0.1, 0.1, 0.2, 0.5, 0.1], [0.1, 0.1, 0.1, 0.2, 0.5], [0.2] * 5]
    wanted = [[1.0, 0, 0, 0, 0], [0, 0, 0, 1.0, 0], [0, 0, 0, 0, 1.0], [0.0] * 5]
    targets = {
        "labels": torch.tensor([[0], [3], [4], [2]]),
        "level_mask": torch.tensor([[True], [True], [True], [False]]),
        "level_probs": torch.tensor(wanted),
        "item": torch.zeros(4, dtype=torch.long),
        "pairs": torch.tensor([[0, 1], [0, 2], [1, 2]]),
        "preference": torch.tensor([1.0, 1.0, 0.5]),
        "num_items": 1,
    }
    config = LossConfig(loss_form="released", focal_beta=2.0, text_weight=text_weight)
    loss, parts = multi_task_loss(level_logits(predicted), targets, list(range(5)), config)
    values = (4.5, 3.5, 2.5, 1.5, 0.5)
    means = [sum(p * v for p, v in zip(row, values, strict=True)) for row in predicted[:3]]
    spreads = [
        sum(p * (v - m) ** 2 for p, v in zip(row, values, strict=True))
        for row, m in zip(predicted[:3], means, strict=True)
    ]

    def fidelity(a, b, g):
        p = 0.5 * (1 + math.erf((means[a] - means[b]) / math.sqrt(2 * (spreads[a] + spreads[b]))))
        return 1 - math.sqrt(p * g) - math.sqrt((1 - p) * (1 - g))

    pairs = (fidelity(0, 1, 1.0) + fidelity(0, 2, 1.0) + fidelity(1, 2, 0.5)) / 3
    kl = -math.log(0.5)  # all three
    text = -(0.8**2) * math.log(0.2)
    assert loss.item() == pytest.approx(pairs + kl + text_weight * text, abs=1e-3)
    assert parts[:, 1].tolist() == [3, 1, 1, 1]
    turned = {**targets, "preference": 1 - targets["preference"]}
    worse, _ = multi_task_loss(level_logits(predicted), turned, list(range(5)), config)
    assert worse.item() > loss.item() + 0.2


def trainer_of(tmp_path, originals, stage, mixture=None, model=None, seed=0, **settings):
    torch.manual_seed(0)
    model = model or tiny_model(vision="resnet")
    data = fresh_data(originals, model.processor, mixture)
    defaults = {
        "stage": stage,
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": 2,
        "use_cpu": True,
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_steps": 1,
        "learning_rate": 5e-3,
        "warmup_steps": 0,
        "seed": seed,
        "disable_tqdm": True,
    }
    args = VitalTrainingConfig(**{**defaults, **settings})
    return VitalTrainer(model, args, data, DataArguments(bucket_batches=2))


def test_the_encoder_stage_learns_and_changes_the_encoders_alone(tmp_path, originals):
    model = tiny_model(vision="resnet")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = trainer_of(
        tmp_path, originals, "encoders", {"tiles": 1.0, "clips": 1.0}, model, max_steps=12, mirrored=True
    )
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert {"loss_kl", "loss_fidelity", "loss_type", "loss_severity"} <= set().union(*history)
    assert np.mean([e["loss"] for e in history[-4:]]) < np.mean([e["loss"] for e in history[:4]])
    trainer.save_model(str(tmp_path / "out"))
    after = type(model).from_pretrained(tmp_path / "out").state_dict()
    assert set(after) == set(before)
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"vision_tower", "motion_encoder"}


def test_labels_of_what_was_done(originals):
    processor = tiny_model().processor
    tables = tables_of(
        originals, processor, plan={"versions": 3, "authentic_share": 0.0, "chain_share": 0.0}, none_share=1.0
    )
    batch = EncoderCollator(processor, tables)([{"table": "tiles", "row": i} for i in range(4)])
    words = [text for i in range(4) for text in tables["tiles"][i]["texts"]]
    for text, kind, severity in zip(
        words, batch["targets"]["type"].tolist(), batch["targets"]["severity"].tolist(), strict=True
    ):
        if KINDS[kind] == "none":
            assert text.endswith(" none.") and severity == -100
        else:
            assert not text.endswith(" none.") and 0 <= severity < 5


def test_the_last_frame_of_a_clip_shorter_than_the_others_stands_still(originals):
    processor = tiny_model().processor
    processor.sampling = FrameSampling(motion_stride=1, motion_window=None)
    row = tables_of(originals, processor)["clips"][0]
    short = {**row, "videos": [{**video, "pixels": video["pixels"][:5]} for video in row["videos"]]}
    count = len(row["videos"])
    collate = EncoderCollator(processor, {"both": [row, short], "short": [short]})
    values = collate([{"table": "both", "row": i} for i in range(2)])["motion_values"]
    alone = collate([{"table": "short", "row": 0}])["motion_values"]
    assert alone.shape[1] < values.shape[1] and torch.equal(values[count:, : alone.shape[1]], alone)
    still = values[count:, alone.shape[1] :]
    assert torch.equal(still, alone[:, -1:].expand_as(still))


@pytest.mark.parametrize("wrong", [{"type": "spilled coffee"}, {"severity": 9}, {"severity": 0}])
def test_a_distortion_that_there_is_not_is_an_error_of_its_row(originals, wrong):
    processor = tiny_model().processor
    row = tables_of(originals, processor)["tiles"][0]
    row["distortion"] = [{"type": "lens_blur", "family": "blur", "severity": 2, **wrong} for _ in row["distortion"]]
    with pytest.raises(RowError, match=f"row 'tiles-0': .*{next(iter(wrong.values()))}"):
        EncoderCollator(processor, {"tiles": [row]})([{"table": "tiles", "row": 0}])


def test_the_mirrored_showing_is_half_of_the_loss(tmp_path, originals):
    plain = trainer_of(tmp_path / "a", originals, "base", max_steps=1)
    batch = plain._prepare_inputs(plain.data_collator([{"table": "tiles", "row": 0}, {"table": "wholes", "row": 1}]))
    both = trainer_of(tmp_path / "b", originals, "base", model=plain.model, max_steps=1, mirrored=True)
    flipped = mirror(batch)
    assert torch.equal(flipped["pixel_values"], batch["pixel_values"].flip(-1))
    plain.model.train()
    one, other = (plain.compute_loss(plain.model, seen).item() for seen in (batch, flipped))
    assert one != pytest.approx(other, rel=1e-5)
    assert both.compute_loss(both.model, batch).item() == pytest.approx((one + other) / 2, rel=1e-5)


def test_the_encoders_learn_at_their_own_rate(tmp_path, originals):
    trainer = trainer_of(tmp_path, originals, "base", max_steps=1, learning_rate=1e-3, encoder_learning_rate=1e-5)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    own = {id(p) for encoder in encoders(trainer.model) for p in encoder.parameters()}
    trainer.train()
    largest = {True: 0.0, False: 0.0}
    for name, value in trainer.model.named_parameters():
        moved = (value - before[name]).abs().max().item()
        largest[id(value) in own] = max(largest[id(value) in own], moved)
    assert 0 < largest[True] < 3e-5  # Adam's first step moves a weight by the rate
    assert 3e-4 < largest[False] < 3e-3


@pytest.mark.slow
def test_a_killed_run_on_fresh_rows_goes_on_as_if_nothing_had_been(tmp_path, originals):
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "mirrored": True}
    whole = trainer_of(tmp_path / "whole", originals, "base", **settings)
    whole.train()
    broken = trainer_of(tmp_path / "broken", originals, "base", **settings)
    steps = []

    def interrupted(model, inputs, *args, _compute=broken.compute_loss, **kwargs):
        steps.append(len(steps))
        if len(steps) == 4:
            raise KeyboardInterrupt
        return _compute(model, inputs, *args, **kwargs)

    broken.compute_loss = interrupted
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = trainer_of(tmp_path / "broken", originals, "base", **settings)
    assert resumed.resume_point().name == "checkpoint-2"
    resumed.train()
    for (name, a), b in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert (a.double() - b.double()).abs().mean() < 5e-4, name  # CPU kernels sum in varying order
    losses = [[e["loss"] for e in t.state.log_history if "loss" in e] for t in (whole, resumed)]
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


def test_settings_of_fresh_rows_that_mean_nothing_are_refused(tmp_path):
    processor = tiny_model().processor
    from training.tiny.groups import fresh_tables

    for fresh in ("nothing", "training.tiny.groups:nothing", "no.such.module:x"):
        with pytest.raises(ValueError, match="module:function"):
            load_data(DataArguments(fresh=fresh), processor, seed=0)
    with pytest.raises(ValueError, match=r"lacks\.yaml"):
        fresh_tables(processor, 0, str(tmp_path / "lacks.yaml"), str(tmp_path))
    (tmp_path / "data.yaml").write_text("rulle: {}\n")
    with pytest.raises(ValueError, match="rulle"):
        fresh_tables(processor, 0, str(tmp_path / "data.yaml"), str(tmp_path))
    (tmp_path / "data.yaml").write_text("rows: 3\n")
    with pytest.raises(FileNotFoundError, match=r"manifest\.csv"):
        fresh_tables(processor, 0, str(tmp_path / "data.yaml"), str(tmp_path))


# ----------------------------------------------------------------------------------------------- the family
@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"none_share": 0.5}, {"photo": "astronaut"}, {"height": 250}, {"table": "wholes"}]
)
def test_fresh_groups_are_other_rows_by_what_they_follow_from_not_by_where_it_is(tmp_path, change):
    processor = tiny_model().processor

    def fingerprint(folder, comment="", seed=0, photo="coffee", height=260, table="tiles", **changes):
        folder.mkdir()
        Image.fromarray(PHOTOS["coffee"][:height]).save(folder / "a.png")
        (folder / "manifest.csv").write_text(f"content_id,path,license,split,package\n{photo},a.png,CC0-1.0,,seen\n")
        (folder / "data.yaml").write_text(f"{comment}rows: 4\ntest_share: 0.0\n")
        options = {"config": str(folder / "data.yaml"), "data_dir": str(folder), **changes}
        args = DataArguments(fresh="training.tiny.groups:fresh_tables", fresh_options=options, mixture={table: 1.0})
        return load_data(args, processor, seed).fingerprints[table]

    first = fingerprint(tmp_path / "first")
    assert fingerprint(tmp_path / "second", "# the same\n") == first
    assert fingerprint(tmp_path / "third", **change) != first


class PlainTable(list):
    """A table that states no fingerprint."""

    column_names = ("id",)
    visual_tokens = np.ones(2, dtype=np.int64)


def test_other_options_of_fresh_rows_are_other_rows_to_a_run_that_resumes(tmp_path):
    (tmp_path / "rule.yaml").write_text("rule: 1")
    processor = tiny_model().processor

    def fingerprint(seed=0, **changes):
        options = {"config": str(tmp_path / "rule.yaml"), "clip_frames": [8, 8], **changes}
        args = DataArguments(fresh="training.tiny.groups:fresh_tables", fresh_options=options)
        return make_data({"tiles": PlainTable("ab")}, {"tiles": 1.0}, None, processor, args, seed).fingerprints[
            "tiles"
        ]

    first = fingerprint()
    assert fingerprint() == first
    assert len({first, fingerprint(seed=1), fingerprint(clip_frames=[8, 9])}) == 3
    (tmp_path / "rule.yaml").write_text("rule: 2")
    assert fingerprint() != first


@pytest.mark.parametrize("options", [None, {"config": "x", "data_dir": "y", "seed": 2}])
def test_options_that_fresh_rows_do_not_take_are_named(options):
    args = DataArguments(fresh="training.tiny.groups:fresh_tables", fresh_options=options)
    with pytest.raises(ValueError, match="`fresh_options`.*(config|seed)"):
        fresh_tables(args, None, 0)


def test_half_of_the_first_motion_filters_see_what_changes():
    model = build_model(ModelConfig.load(FOLDER / "model.yaml"), seed=0)
    weight = model.model.motion_encoder.stem_conv.weight.detach()
    half = len(weight) // 2
    still = weight.sum(2)  # what a filter answers where nothing moves: [channels, colors, height, width]
    assert still[:half].abs().max() < 1e-6
    assert still[half:].abs().amax(dim=(1, 2, 3)).min() > 1e-3
    assert weight[:half].abs().amax(dim=(1, 2, 3, 4)).min() > 1e-3


def test_the_tokenizers_are_files_and_differ():
    first, second = (read_tokenizer(FOLDER / "tokenizers" / f"{n}.json") for n in ("vital-tiny", "vital-tiny-warmup"))
    embedded = AutoTokenizer.from_pretrained(resolve("vital-tiny"))
    text = "The distortion of the image is severe JPEG compression."
    assert first(text)["input_ids"] == embedded(text)["input_ids"] != second(text)["input_ids"]
    assert second.decode(second(text)["input_ids"]) == text
    assert first.all_special_tokens[:2] and set(first.get_vocab()) != set(second.get_vocab())


def test_the_warm_up_decoder_is_of_another_architecture(tmp_path):
    decoder, tokenizer = build_decoder(FOLDER / "warmup_decoder.yaml", seed=0)
    assert decoder.config.model_type != "qwen2" and decoder.config.vocab_size == len(tokenizer)
    model = type(tiny_model()).from_parts(tiny_model(vision="resnet"), decoder, tokenizer)
    assert model.config.text_config.model_type == decoder.config.model_type


def test_every_step_starts_from_an_earlier_one_and_has_a_recipe():
    known = {"start", "new", None}
    for step in STEPS:
        assert {step.model, step.decoder} <= known | {"start"}
        known |= {step.name}
        settings = yaml.safe_load((FOLDER / "recipes" / f"{step.name}.yaml").read_text())
        assert settings.get("stage", step.script) == step.script
        assert settings["output_dir"].endswith(f"/{step.name}")
    assert [step.ships for step in STEPS if step.ships] == ["vital-tiny", "vital-tiny-warmup", "vital-tiny-probe"]


def test_a_sample_keeps_the_scores_of_fresh_rows(tmp_path, originals):
    processor = tiny_model().processor
    tables = tables_of(originals, processor)
    folder = write_sample(tables, {"tiles": 8, "clips": 1}, tmp_path / "sample")
    rows = scoring_rows(DataArguments(str(folder)), "validation", None, 0)
    group = tables["tiles"][7]
    assert rows["id"] == [f"tiles-7-v{i}" for i in range(3)] and rows["mos"] == pytest.approx(group["mos"])
    stored = processor.prepare(rows[1]["images"][0]["bytes"])
    assert np.array_equal(stored.tiles, processor.prepare(group["images"][1]["pixels"]).tiles)
    assert sum(m == "video" for m in scoring_rows(DataArguments(str(folder)), "train", None, 0)["modality"]) == 3
    written = (folder / "README.md").stat().st_mtime_ns
    assert (write_sample({}, {"tiles": 8}, folder) / "README.md").stat().st_mtime_ns == written
