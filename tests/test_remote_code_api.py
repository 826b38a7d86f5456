"""Beyond scoring: the pipeline and what else a model is asked, from a folder, without the package."""

import pytest
from PIL import Image

from tests.fixtures.tiny_models import tiny_model
from tests.test_remote_code_closure import run_without_the_package


SCRIPT = """
    import json, sys
    sys.modules["modeling_vital"] = None
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


def test_everything_works_from_a_folder(tmp_path):
    model = tiny_model()
    folder, picture = tmp_path / "a checkpoint", tmp_path / "a picture.png"
    model.save_pretrained(folder)
    Image.radial_gradient("L").convert("RGB").save(picture)
    expected = model.score(picture)

    result = run_without_the_package(SCRIPT, folder, picture, tmp_path)
    assert result["record"].keys() == expected.to_dict().keys()
    for score in (result["record"]["score"], result["again"], result["parts"]):
        assert score == pytest.approx(expected.score, abs=1e-6)
    assert result["compared"]["probability"] == pytest.approx(0.5)
    assert result["described"] == model.describe(picture, max_new_tokens=3)
    assert result["chosen"] == pytest.approx(model.answer(picture, "Sharp?", choices=["yes", "no"]).choice_probs)
