"""The parity check, on folders of numbers that the released architecture stated anew gives."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from modeling_vital.conversion.parity import check_folder, main
from tests.fixtures.released import (
    TILE,
    random_weights,
    released_config,
    released_reference,
    released_shapes,
    slowfast_reference,
    write_checkpoint,
)


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LEVELS, CONTEXT = [41, 43, 47, 53, 59], 700


@pytest.fixture(scope="module", params=["qwen2", "internlm2"])
def folder(request, tmp_path_factory):
    """A folder as the official ones are: a checkpoint of any sizes without a tokenizer, cases, `common/` beside it."""
    root = tmp_path_factory.mktemp("parity")
    config = released_config(request.param, qk_norm=request.param == "internlm2", vocab=720)
    config["llm_config"] |= {"num_hidden_layers": 3, "hidden_size": 48, "intermediate_size": 20}
    state = random_weights(released_shapes(config))
    folder = write_checkpoint(root / "tiny one", config, state, tokenizer=False)
    (root / "common").mkdir()
    lines = f"MEAN={MEAN}; STD={STD}", f"LEVELS={LEVELS}  # words", "raise SystemExit('it was run')", f"CTX={CONTEXT}"
    (root / "common/pattern_and_constants.py").write_text("\n".join(lines))
    generator = torch.Generator().manual_seed(0)
    pixels = {
        f"{name}_u8": torch.randint(0, 256, (count, 3, TILE, TILE), dtype=torch.uint8, generator=generator)
        for name, count in (("still3", 3), ("still", 2), ("clip8", 8))
    }
    save_file(pixels, root / "common/inputs.safetensors")
    scores = {}
    for name in ("still3_score", "still_train", "clip8_score"):
        tensors, scores[name] = make_case(state, config, pixels[f"{name.split('_')[0]}_u8"], "clip" in name, generator)
        save_file(tensors, folder / f"{name}.safetensors")
    save_file({"some.weight": torch.zeros(2)}, folder / "grads_text.safetensors")  # not a case
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def make_case(state, config, pixels, is_clip, generator):
    """The tensors of a case file and its entry in `scores.json`, under the official names."""
    flags = torch.ones(len(pixels), dtype=torch.long)
    if is_clip:
        flags = torch.tensor([1, 0, 0, 0, 0, 1, 0, 0])
    values = (pixels.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    placeholders = 4 * int(flags.sum()) + (len(pixels) if is_clip else 0)
    ids = torch.randint(100, 600, (placeholders + 25,), generator=generator)
    ids[5 : 5 + placeholders] = CONTEXT
    ids[-3] = LEVELS[1]
    out = released_reference(state, config, ids, CONTEXT, values[flags == 1], values if is_clip else None)
    if not is_clip:
        tiled = torch.cat([values] * 4)
        fast = {key.removeprefix("slowfast_model.feature_extraction."): w for key, w in state.items()}
        out["slowfast_fast_feature"] = slowfast_reference(fast, tiled)
    logits = out.pop("logits")
    tensors = {
        **{name: tensor.contiguous().clone() for name, tensor in out.items()},
        "input_ids": ids[None],
        "labels": ids[None].clone(),
        "image_flags": flags,
        "modality": torch.tensor([int(is_clip)]),
        "logits_last8": logits[-8:].contiguous(),
        "logits_pos0_levels": logits[:, LEVELS].contiguous(),
        "sf_block2_slow_mean": torch.zeros(1, 4, 2),
    }
    positions = {"position_minus3": -3, "position_minus1": -1, "level_position_minus1": -4}
    return tensors, {"seq_len": len(ids), **{name: scores_at(logits[i]) for name, i in positions.items()}}


def scores_at(logits):
    closed, full = logits[LEVELS].double().softmax(0), logits.double().softmax(0)[LEVELS]
    mean = sum(p * w for p, w in zip(full, (4.5, 3.5, 2.5, 1.5, 0.5), strict=True))
    variance = sum(p * (w - mean) ** 2 for p, w in zip(full, (4.5, 3.5, 2.5, 1.5, 0.5), strict=True))
    return {
        "level_logits_high_good_fair_poor_low": logits[LEVELS].tolist(),
        "closed_softmax": closed.tolist(),
        "score_rating_1_to_0p2": sum((5 - i) / 5 * p.item() for i, p in enumerate(closed)),
        "closed_expect_4p5_to_0p5": sum((4.5 - i) * p.item() for i, p in enumerate(closed)),
        "train_full_vocab_probs": full.tolist(),
        "train_score_4p5_to_0p5_unnormalised": mean.item(),
        "train_std": variance.item() ** 0.5,
    }


def test_every_number_of_every_case_is_compared(folder, capsys):
    assert main([str(folder)]) == 0
    output = capsys.readouterr().out
    assert [line for line in output.splitlines() if not line.startswith(" ")][:-1] == [
        "clip8_score",
        "still3_score",
        "still_train",
    ]
    # per case 3 layers of decoder, 2 of ViT, 6 others, 3 x 7 scores; a clip has two more
    assert output.splitlines()[-1] == f"{3 * (3 + 2 + 6 + 21) + 2} ok, 0 BEYOND, 3 not compared"


@pytest.mark.parametrize("name", ["vit_layer1_cls_and_first3", "logits_last8", "slowfast_fast_feature", "scores"])
def test_a_number_that_differs_is_found(folder, name, tmp_path, capsys):
    numbers = tmp_path / "numbers"
    numbers.mkdir()
    (tmp_path / "common").symlink_to(folder.parent / "common")
    case = load_file(folder / "clip8_score.safetensors")
    scores = {"clip8_score": json.loads((folder / "scores.json").read_text())["clip8_score"]}
    if name == "scores":
        scores["clip8_score"]["position_minus3"]["score_rating_1_to_0p2"] += 2e-5
    else:
        case[name].view(-1)[-1] += 2e-4 * max(1, case[name].abs().max().item())
    save_file(case, numbers / "clip8_score.safetensors")
    (numbers / "scores.json").write_text(json.dumps(scores))
    assert main([str(folder), "--numbers", str(numbers)]) == 1
    beyond = [line for line in capsys.readouterr().out.splitlines() if "BEYOND" in line]
    assert len(beyond) == 2  # the tensor, and the summary
    assert ("score_rating_1_to_0p2" if name == "scores" else name) in beyond[0]


def test_not_a_number_and_another_shape_are_beyond(folder, tmp_path):
    numbers = tmp_path / "numbers"
    numbers.mkdir()
    (tmp_path / "common").symlink_to(folder.parent / "common")
    case = load_file(folder / "still_train.safetensors")
    case["mlp1_out"] = case["mlp1_out"] * torch.nan
    case["vit_last_hidden_state"] = case["vit_last_hidden_state"][:1].contiguous()
    save_file(case, numbers / "still_train.safetensors")
    (numbers / "scores.json").write_text('{"another": {"position_minus3": {}}}')
    differences = list(check_folder(folder, numbers))
    assert (differences[-1].case, differences[-1].largest) == ("another", None)
    beyond = {difference.tensor for difference in differences if difference.beyond}
    assert beyond == {"mlp1_out", "vit_last_hidden_state"}


def test_wrong_use(folder, tmp_path, capsys):
    for arguments, message in (
        (["nowhere"], "no folder 'nowhere'"),
        ([str(tmp_path)], "common/ has to be beside"),
        ([], "FOLDER"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    (folder.parent / "no case").mkdir(exist_ok=True)
    assert main([str(folder), "--numbers", str(folder.parent / "no case")]) == 2
    assert "has no case" in capsys.readouterr().err
    unknown = folder.parent / "unknown pixels"
    unknown.mkdir(exist_ok=True)
    save_file(load_file(folder / "still_train.safetensors"), unknown / "other_train.safetensors")
    assert main([str(folder), "--numbers", str(unknown)]) == 2
    assert "'other_train' has no pixels" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["tinyA"], ["tinyS", "--numbers", "tinyA"]], ids=["tinyA", "tinyS"])
def test_official_fixtures(arguments, official):
    paths = [argument if argument.startswith("--") else str(official / argument) for argument in arguments]
    command = [sys.executable, "-m", "modeling_vital.conversion.parity", *paths]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == "154 ok, 0 BEYOND, 10 not compared"
