"""The path from photos to weights, on two small pictures: deterministic groups, learning, resuming, measuring."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from dataset_scripts.annotators.kadid import PRISTINE_MOS, human_mos
from dataset_scripts.distortions import tag
from dataset_scripts.distortions.authentic import AUTHENTIC, Degradation, subject_mask
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from training.tiny import Recipe, TrainConfig, collate, compute_losses, export, train, training_cost
from training.tiny_data import (
    DataConfig,
    Originals,
    TinyGroups,
    authentic_version,
    cut_clip,
    cut_region,
    image_opinions,
    is_test,
    load_originals,
    pan_and_zoom,
)
from training.tiny_encoder import NAMES, collate_views, image_lesson, motion_lesson, train_lesson
from training.tiny_model import ModelConfig, build_model


RECIPE = "training/recipes/vital_tiny.yaml"


@pytest.fixture(scope="module")
def originals():
    photos = {"astronaut": data.astronaut()[:300, :300], "coffee": data.coffee()[:260, :300]}
    return Originals(photos, {"pan": pan_and_zoom(data.coffee(), 24, np.random.default_rng(0))})


@pytest.fixture(scope="module")
def recipe():
    recipe = Recipe.load(RECIPE)
    recipe.model.tile_size = 128
    recipe.model.vision |= {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "groups_width": 8}
    recipe.data.grids = [[1, 1, 1], [2, 2, 1]]
    recipe.data.variants_per_group = 3
    recipe.data.single_tile_share = 0.0
    return recipe


@pytest.fixture
def model(recipe):
    return build_model(recipe.model, seed=0)


def groups_of(model, originals, recipe, clip_share=0.0, length=12):
    config = DataConfig(**{**vars(recipe.data), "clip_share": clip_share})
    return TinyGroups(originals, model.processor, config, seed=0, length=length)


@pytest.mark.parametrize("clip_share", [0.0, 1.0])
def test_a_group_depends_on_seed_and_index_alone(model, originals, recipe, clip_share):
    groups = groups_of(model, originals, recipe, clip_share)
    first, other, again = groups[3], groups[4], groups_of(model, originals, recipe, clip_share)[3]
    assert len(first) == 3
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.media.tiles, b.media.tiles)
        assert torch.allclose(a.target, b.target, atol=1e-6)  # OpenCV's float32 sums vary in the last bit
        assert a.tag == b.tag
    assert not np.array_equal(first[0].media.tiles, other[0].media.tiles)
    assert first[0].media.modality == ("video" if clip_share else "image")
    for variant in first:
        assert variant.target.sum().item() == pytest.approx(1, abs=1e-5)
        assert variant.mean == pytest.approx(float(variant.target @ torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1])), abs=0.12)


def test_the_original_is_judged_best(model, originals, recipe):
    groups = groups_of(model, originals, recipe)
    for group in (groups[i] for i in range(8)):
        clean = [v.mean for v in group if v.tag == "none"]
        worst = [v.mean for v in group if v.tag and v.tag.startswith("severe")]
        assert all(c > w for c in clean for w in worst)


def test_batch_rows_and_positions(model, originals, recipe):
    groups = groups_of(model, originals, recipe)
    batch = collate([groups[0], groups[1]], model.processor)
    assert batch.group.tolist() == [0, 0, 0, 1, 1, 1]
    decode = model.processor.tokenizer.decode
    for row, position in enumerate(batch.answer.tolist()):
        assert decode(batch.inputs["input_ids"][row, : position + 1]).endswith("The quality of the image is")
    for row, variant in enumerate(batch.rows[6:], start=6):
        tag = [v for g in (groups[0], groups[1]) for v in g][variant].tag
        learned = batch.labels[row][batch.labels[row] != -100]
        assert decode(learned) == f"The distortion of the image is {tag}.<|im_end|>"


def test_losses_match_two_separate_passes(model, originals, recipe):
    model.eval()
    groups = groups_of(model, originals, recipe, clip_share=0.5)
    batch = collate([groups[i] for i in range(4)], model.processor)
    from modeling_vital.levels_vital import level_token_ids
    from training.losses import pmod_kl_loss

    ids = level_token_ids(model.processor.tokenizer)
    losses = compute_losses(model, batch, ids)
    media = [v.media for i in range(4) for v in groups[i]]
    inputs = model.processor.score_inputs(media)
    logits = torch.stack([model(**model.processor.score_inputs([m])).logits[0, -1] for m in media])
    assert losses["kl"].item() == pytest.approx(pmod_kl_loss(logits, ids, batch.target, True).mean().item(), rel=5e-3)
    assert inputs["pixel_values"].shape == batch.inputs["pixel_values"].shape


@pytest.mark.parametrize(("make_lesson", "clip_share"), [(image_lesson, 0.0), (motion_lesson, 1.0)])
def test_first_lessons_learn_and_resume(recipe, originals, tmp_path, make_lesson, clip_share):
    def run(steps):
        torch.manual_seed(0)
        model = build_model(recipe.model, seed=0)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        lesson = make_lesson(model)
        groups = groups_of(model, originals, recipe, clip_share, 64)
        groups.config.clip_frames = [16, 16]  # one window
        train_lesson(lesson, groups, steps, 2, 5e-3, 0.05, 0, tmp_path)
        trained = {id(value) for value in lesson.encoder.state_dict(keep_vars=True).values()}
        for name, value in model.state_dict(keep_vars=True).items():
            assert torch.equal(value, before[name]) or id(value) in trained, name
        return [json.loads(line) for line in (tmp_path / f"{lesson.name}.jsonl").read_text().splitlines()]

    log = run(10)
    assert [row["step"] for row in log] == list(range(1, 11))
    first, last = (sum(row["severity"] + row["type"] for row in rows) for rows in (log[:3], log[-3:]))
    assert last < first
    assert run(10) == log  # finished: nothing is done again


def test_first_lessons_know_the_distortions(model, originals, recipe):
    groups = groups_of(model, originals, recipe)
    batch = collate_views([groups[0], groups[1]], image_lesson(model).view)
    for variant, kind, severity in zip(
        [*groups[0], *groups[1]], batch["type"].tolist(), batch["severity"].tolist(), strict=True
    ):
        if variant.tag == "none":
            assert (kind, severity) == (len(NAMES), -100)
        elif variant.tag is not None:
            assert variant.tag == tag(NAMES[kind], severity + 1)
    assert batch["views"].shape == (6, 3, 128, 128)


def test_runs_of_single_tiles_and_weights_of_distortions(model, originals, recipe):
    config = DataConfig(**{**vars(recipe.data), "clip_share": 0.0, "grids": [[2, 2, 1]], "single_tile_share": 0.5})
    config.distortion_weights = {name: 0.0 for name in config.image_distortions() if name != "jpeg"}
    groups = TinyGroups(originals, model.processor, config, seed=0, length=128)
    tiles = [[groups[run * 8 + i][0].media.num_tiles for i in (0, 7)] for run in range(16)]
    assert all(first == last for first, last in tiles) and {tuple(first) for first, _ in tiles} == {(1,), (5,)}
    assert {v.tag.split(" ", 1)[-1] for i in range(4) for v in groups[i] if v.tag} <= {"none", "JPEG compression"} | {
        tag("jpeg", s).split(" ", 1)[-1] for s in range(1, 6)
    }
    with pytest.raises(ValueError, match="jpg"):
        DataConfig(distortion_weights={"jpg": 2.0})


def test_training_learns_and_resuming_continues_it(recipe, originals, tmp_path):
    config = TrainConfig(max_steps=6, groups_per_step=2, workers=0, save_every=3, warmup_steps=1, learning_rate=1e-3)

    def run(folder, stop=None):
        model = build_model(recipe.model, seed=0)
        folder.mkdir(exist_ok=True)
        groups = groups_of(model, originals, recipe)
        if stop is not None:
            original = groups.__class__.__getitem__

            def interrupted(self, index):
                if index >= stop * config.groups_per_step:
                    raise KeyboardInterrupt
                return original(self, index)

            groups.__class__ = type("Interrupted", (groups.__class__,), {"__getitem__": interrupted})
        try:
            train(model, groups, config, folder)
        except KeyboardInterrupt:
            assert stop is not None
        return model

    whole = run(tmp_path / "whole")
    run(tmp_path / "broken", stop=4)
    resumed = run(tmp_path / "broken")
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        # Not bit for bit: CPU kernels sum in an order that depends on where memory lies. A step moves by 1e-3.
        assert (a.double() - b.double()).abs().mean() < 2e-4, name
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [1, 2, 3, 4, 5, 6]
    assert log[-1]["prefix"] < log[0]["prefix"]


def test_exported_weights_are_half_and_load_as_float(model, tmp_path):
    export(model, tmp_path)
    loaded = VitalForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    size = (tmp_path / "model.safetensors").stat().st_size
    assert size < 2.2 * sum(p.numel() for p in loaded.parameters()) + 50_000
    picture = Image.fromarray(data.coffee())
    assert loaded.score(picture).score == pytest.approx(model.eval().score(picture).score, abs=1e-3)


def test_a_recipe_with_an_unknown_key_is_an_error(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("train:\n  learning_rat: 1.0\n")
    with pytest.raises(ValueError, match="learning_rat"):
        Recipe.load(path)
    path.write_text("trian: {}\n")
    with pytest.raises(ValueError, match="trian"):
        Recipe.load(path)
    assert isinstance(Recipe.load(RECIPE).model, ModelConfig)


def test_split_is_by_original_and_about_the_share():
    ids = [f"photo-{i}" for i in range(2000)]
    chosen = {i for i in ids if is_test(i, 0.2)}
    assert 0.17 < len(chosen) / len(ids) < 0.23
    assert chosen == {i for i in ids if is_test(i, 0.2)}
    assert chosen <= {i for i in ids if is_test(i, 0.3)}


def test_loading_splits_and_leaves_out_examples_and_names_what_it_cannot_read(tmp_path, caplog):
    rows = []
    for i in range(20):
        Image.fromarray(data.coffee()[:200, :200]).save(tmp_path / f"{i}.png")
        rows.append(
            {
                "content_id": f"c{i}",
                "path": f"{i}.png",
                "kind": "image",
                "split": "example" if i == 0 else "",
                "package": "p7" if i == 7 else "p",
            }
        )
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    rows.append({"content_id": "broken", "path": "broken.png", "kind": "image", "split": "", "package": "p"})
    with open(tmp_path / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    config = DataConfig(held_out_sources=["p7"])
    parts = [load_originals(tmp_path, config, split).photos for split in ("train", "test", "held_out_sources")]
    assert set(parts[0]) & set(parts[1]) == set()
    assert set(parts[0]) | set(parts[1]) == {f"c{i}" for i in range(1, 20)} - {"c7"}
    assert set(parts[2]) == {"c7"}
    assert "broken" in caplog.text


def test_people_are_heard_about_single_distortions_only(recipe):
    photo = data.astronaut()[:128, :128].copy()
    config = DataConfig(image_annotators=["gmsd", "mdsi", "haarpsi"], human_voice=True)
    assert image_opinions(photo, photo, [], config)["human"] == PRISTINE_MOS
    assert image_opinions(photo, photo, [("jpeg", 5)], config)["human"] == human_mos("jpeg", 5)
    assert "human" not in image_opinions(photo, photo, [("jpeg", 5), ("white_noise", 1)], config)
    assert "human" not in image_opinions(photo, photo, [("jpeg", 5)], DataConfig(image_annotators=["gmsd"]))


def test_a_soft_background_costs_less_than_a_soft_subject():
    photo = data.astronaut()[:384, :384].copy()
    config = DataConfig(image_annotators=["gmsd", "mdsi", "haarpsi"])
    blur = Degradation((("out_of_focus", 0.8),))
    even = np.mean(list(authentic_version(photo, blur, False, config, np.random.default_rng(0))[1].values()))
    found = {True: [], False: []}
    for seed in range(12):
        picture, opinions = authentic_version(photo, blur, True, config, np.random.default_rng(seed))
        mask = subject_mask(photo, np.random.default_rng(seed)) > 0.9
        subject_spared = bool((picture[mask] == photo[mask]).mean() > 0.9)
        found[subject_spared].append(np.mean(list(opinions.values())))
    assert found[True] and found[False]
    assert min(found[True]) > max(found[False]) + 0.05
    assert min(found[False]) > even - 0.1


def test_authentic_groups_know_their_steps(model, originals, recipe):
    config = DataConfig(**{**vars(recipe.data), "clip_share": 0.0, "authentic_share": 1.0, "grids": [[3, 2, 1]]})
    variants = [v for i in range(12) for v in TinyGroups(originals, model.processor, config, 0, 12)[i]]
    kinds = {v.kind for v in variants if v.kind}
    assert {name for name, _ in kinds} <= set(AUTHENTIC) and {severity for _, severity in kinds} <= {1, 2, 3, 4, 5}
    assert all(v.tag == "none" and v.mean > 0.7 for v in variants if v.tag is not None)
    labels = collate_views([variants], image_lesson(model).view)
    named = [NAMES[i] for i, v in zip(labels["type"].tolist(), variants, strict=True) if v.kind]
    assert named == [v.kind[0] for v in variants if v.kind]


def test_the_cost_counts_every_session(recipe, tmp_path):
    logs = {"encoder": [10, 1800], "motion": [600, 20, 320], "log": [900]}  # the motion lesson was stopped at 600 s
    for name, clock in logs.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"seconds": s}) + "\n" for s in clock))
    cost = training_cost(recipe, tmp_path)
    assert cost["core_hours"] == round(2 * (1800 + 600 + 320 + 900) / 3600, 2)
    train_config = recipe.train
    groups = train_config.encoder_steps * 16 + train_config.motion_steps * 8 + train_config.max_steps * 8
    assert cost["pictures"] == 3 * groups


def test_regions_never_enlarge_and_clips_have_the_length_asked_for(originals):
    rng = np.random.default_rng(0)
    for _ in range(20):
        region = cut_region(data.coffee(), 3, 2, 128, rng)
        assert region.dtype == np.uint8
        assert region.shape[0] <= 400
        assert region.shape[1] <= 600
    assert cut_region(data.coffee()[:50, :50], 1, 1, 128, rng).shape[0] <= 50
    assert len(cut_clip(originals.clips["pan"], 40, rng)) == 40
    assert len(pan_and_zoom(data.coffee(), 7, rng)) == 7
