"""The folder of a linear probe must work where `modeling_vital` is not installed, as a whole model's does."""

import pytest
from PIL import Image

from tests.fixtures.tiny_probes import tiny_probe
from tests.test_remote_code_closure import run_without_the_package


SCRIPT = """
    import json, sys
    sys.modules["modeling_vital"] = None  # whatever is installed: importing it fails
    from transformers import AutoConfig, AutoModel, AutoProcessor
    try:
        import modeling_vital
    except ImportError:
        pass
    else:
        sys.exit("modeling_vital is importable: this proves nothing")
    folder, picture = sys.argv[1:]
    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    print(json.dumps({
        "config": AutoConfig.from_pretrained(folder, trust_remote_code=True).model_type,
        "score": model.score(picture).score,
        "logits": model.level_logits(**processor(images=picture)).tolist()[0],
    }))
"""


def test_probe_scores_without_the_package(tmp_path):
    probe = tiny_probe()
    folder, picture = tmp_path / "a checkpoint", tmp_path / "a picture.png"
    probe.save_pretrained(folder)
    Image.radial_gradient("L").convert("RGB").save(picture)
    result = run_without_the_package(SCRIPT, folder, picture, tmp_path)
    assert result["config"] == "vital_probe"
    assert result["score"] == pytest.approx(probe.score(picture).score, abs=1e-6)
    assert len(result["logits"]) == 5
