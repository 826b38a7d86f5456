"""A checkpoint folder must work where `modeling_vital` is not installed, with nothing cached and no network."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from modeling_vital import VitalForConditionalGeneration, VitalForQualityProbe, zoo
from modeling_vital.publishing.code_files import laid_out
from modeling_vital.publishing.contents import read_contents
from tests.fixtures.tiny_models import tiny_model


SCORE = """
    import json, sys
    sys.modules["modeling_vital"] = None  # whatever is installed: importing it fails
    from transformers import AutoModel
    folder, picture = sys.argv[1:]
    model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    print(json.dumps(model.score(picture).score))
"""

SCRIPT = """
    import json, sys
    sys.modules["modeling_vital"] = None  # whatever is installed: importing it fails
    from PIL import Image
    from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor
    try:
        import modeling_vital
    except ImportError:
        pass
    else:
        sys.exit("modeling_vital is importable: this proves nothing")
    folder, picture = sys.argv[1:]
    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    other = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    inputs = processor.score_inputs([Image.open(picture)])
    print(json.dumps({
        "config": AutoConfig.from_pretrained(folder, trust_remote_code=True).model_type,
        "score": model.score(picture).score,
        "other": other.score(picture).score,
        "logits": other.level_logits(**inputs).tolist()[0],
    }))
"""


@pytest.mark.parametrize("vision", ["internvl", "resnet"])
def test_checkpoint_scores_without_the_package(vision, tmp_path):
    from PIL import Image

    model = tiny_model(vision)
    folder, picture = tmp_path / "a checkpoint", tmp_path / "a picture.png"
    model.save_pretrained(folder)
    Image.radial_gradient("L").convert("RGB").save(picture)
    expected = model.score(picture).score

    result = run_without_the_package(SCRIPT, folder, picture, tmp_path)
    assert result["config"] == "vital"
    assert result["score"] == pytest.approx(expected, abs=1e-6)
    assert result["other"] == pytest.approx(expected, abs=1e-6)
    assert len(result["logits"]) == 5


@pytest.mark.parametrize("name", zoo.EMBEDDED)
def test_an_embedded_checkpoint_as_it_is_published_scores_without_the_package(name, tmp_path):
    from PIL import Image

    picture = tmp_path / "a picture.png"
    Image.radial_gradient("L").convert("RGB").save(picture)
    kind = VitalForQualityProbe if zoo.is_probe(name) else VitalForConditionalGeneration
    expected = kind.from_pretrained(name).score(picture).score
    with laid_out(read_contents("model", Path(zoo.resolve(name))).files) as folder:
        result = run_without_the_package(SCORE, folder, picture, tmp_path)
    assert result == pytest.approx(expected, abs=1e-6)


def run_without_the_package(code, folder, picture, tmp_path):
    """Runs a script on a checkpoint and a picture where nothing of this repository can be imported."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "PYTHON", "TRANSFORMERS"))}
    environment |= {"HF_HOME": str(tmp_path / "empty cache"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        # -I: no current folder, no PYTHONPATH
        [sys.executable, "-I", str(script), str(folder), str(picture)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.strip().splitlines()[-1])
