"""No load path reads a pickle: a checkpoint with nothing but pickled weights is refused, and its code not run."""

import os
import pickle

import pytest
import torch
from safetensors.torch import load_file

from modeling_vital import VitalForConditionalGeneration, VitalModel
from modeling_vital.cli.main import main
from tests.fixtures.tiny_models import tiny_model


class Harm:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture(params=["tensors", "code"])
def pickled(request, tmp_path):
    """A checkpoint whose weights are a pickle: an honest one, and one that makes a folder when it is read."""
    folder = tmp_path / "checkpoint"
    tiny_model().save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if request.param == "tensors":
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harm(tmp_path / "harm")))
    return folder


def test_from_pretrained_refuses_pickles(pickled):
    for model_class in (VitalForConditionalGeneration, VitalModel):
        with pytest.raises(OSError, match="safetensors"):
            model_class.from_pretrained(pickled)
    with pytest.raises(ValueError, match="vital convert"):
        VitalForConditionalGeneration.from_pretrained(pickled, use_safetensors=False)
    assert not (pickled.parent / "harm").exists()


def test_the_command_refuses_pickles(pickled, capsys):
    (pickled.parent / "a.png").touch()
    assert main(["score", "--model", str(pickled), str(pickled.parent / "a.png")]) == 2
    assert "safetensors" in capsys.readouterr().err
    assert not (pickled.parent / "harm").exists()


def test_the_decoder_of_another_checkpoint_is_not_unpickled(pickled):
    tiny_model().save_pretrained(pickled.parent / "sound")
    for vision, decoder in ((pickled, pickled.parent / "sound"), (pickled.parent / "sound", pickled)):
        with pytest.raises(OSError, match="safetensors"):
            VitalForConditionalGeneration.from_parts(vision=str(vision), decoder=str(decoder))
    assert not (pickled.parent / "harm").exists()
