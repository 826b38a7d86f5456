"""A checkpoint folder must work where `modeling_vital` is not installed, with nothing cached and no network."""

from pathlib import Path

import pytest
from PIL import Image

from modeling_vital import VitalForConditionalGeneration, VitalForQualityProbe, zoo
from modeling_vital.publishing.code_files import laid_out
from modeling_vital.publishing.contents import read_contents
from tests.fixtures.clean_process import run_without_the_package
from tests.fixtures.tiny_models import tiny_model
from tests.fixtures.tiny_probes import tiny_probe


SCORE = """
    import json, sys
    from transformers import AutoModel
    folder, picture = sys.argv[1:]
    model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    print(json.dumps(model.score(picture).score))
"""

SCRIPT = """
    import json, sys
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


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a picture.png"
    Image.radial_gradient("L").convert("RGB").save(path)
    return path


@pytest.mark.parametrize("vision", ["internvl", "resnet"])
def test_checkpoint_scores_without_the_package(vision, picture, tmp_path):
    model = tiny_model(vision)
    folder = tmp_path / f"a checkpoint of {vision}"
    model.save_pretrained(folder)
    expected = model.score(picture).score

    result = run_without_the_package(SCRIPT, folder, picture, tmp_path)
    assert result["config"] == "vital"
    assert result["score"] == pytest.approx(expected, abs=1e-6)
    assert result["other"] == pytest.approx(expected, abs=1e-6)
    assert len(result["logits"]) == 5


@pytest.mark.parametrize("name", zoo.EMBEDDED)
def test_an_embedded_checkpoint_as_it_is_published_scores_without_the_package(name, picture, tmp_path):
    kind = VitalForQualityProbe if zoo.is_probe(name) else VitalForConditionalGeneration
    expected = kind.from_pretrained(name).score(picture).score
    with laid_out(read_contents("model", Path(zoo.resolve(name))).files) as folder:
        result = run_without_the_package(SCORE, folder, picture, tmp_path)
    assert result == pytest.approx(expected, abs=1e-6)


PROBE = """
    import json, sys
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


def test_probe_scores_without_the_package(picture, tmp_path):
    probe = tiny_probe()
    folder = tmp_path / "a checkpoint of a probe"
    probe.save_pretrained(folder)
    result = run_without_the_package(PROBE, folder, picture, tmp_path)
    assert result["config"] == "vital_probe"
    assert result["score"] == pytest.approx(probe.score(picture).score, abs=1e-6)
    assert len(result["logits"]) == 5


EVERYTHING = """
    import json, sys
    from transformers import AutoModel, AutoModelForImageTextToText, pipeline
    folder, picture = sys.argv[1:]
    # The pipeline comes first: nothing of ours has been imported that could have registered it.
    assess = pipeline("visual-quality-assessment", model=folder, trust_remote_code=True)
    assert type(assess).__module__.startswith("transformers_modules."), type(assess)
    record = assess([picture, picture], batch_size=2)[1]
    assess.save_pretrained(folder + " saved by the pipeline")
    again = pipeline(model=folder + " saved by the pipeline", trust_remote_code=True)
    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    other = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
    type(model).from_parts(vision=folder, decoder=other).save_pretrained(folder + " of parts")
    print(json.dumps({
        "record": record,
        "again": again(picture)["score"],
        "compared": model.compare(picture, picture).to_dict(),
        "described": model.describe(picture, max_new_tokens=3),
        "chosen": model.answer(picture, "Sharp?", choices=["yes", "no"]).choice_probs,
        "parts": AutoModel.from_pretrained(folder + " of parts", trust_remote_code=True).score(picture).score,
    }))
"""


def test_everything_works_from_a_folder(picture, tmp_path):
    model = tiny_model()
    folder = tmp_path / "a checkpoint for all"
    model.save_pretrained(folder)
    expected = model.score(picture)

    result = run_without_the_package(EVERYTHING, folder, picture, tmp_path)
    assert result["record"].keys() == expected.to_dict().keys()
    for score in (result["record"]["score"], result["again"], result["parts"]):
        assert score == pytest.approx(expected.score, abs=1e-6)
    assert result["compared"]["probability"] == pytest.approx(0.5)
    assert result["described"] == model.describe(picture, max_new_tokens=3)
    assert result["chosen"] == pytest.approx(model.answer(picture, "Sharp?", choices=["yes", "no"]).choice_probs)
