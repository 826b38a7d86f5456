"""Conversations through the chat template; the adapters in lmms-eval and VLMEvalKit, where they are installed."""

import base64
import csv
import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image

from modeling_vital.evaluation.harness.conversations import ChatAnswers


ROOT = Path(__file__).parents[3]
CLIP = ROOT / "spaces_demo/examples/city-towers-at-night.mp4"
QUESTION = "How is the quality of this picture?"


@pytest.fixture(scope="module")
def answers():
    return ChatAnswers("vital-tiny", "cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    made = [Image.radial_gradient("L").resize((96, 80)), Image.effect_noise((96, 80), 120)]
    paths = [folder / f"{number}.png" for number in range(len(made))]
    for picture, path in zip(made, paths, strict=True):
        picture.save(path)
    return paths


def asked(picture, text=QUESTION):
    return [{"role": "user", "content": [{"type": "image", "image": str(picture)}, {"type": "text", "text": text}]}]


def test_it_answers_through_the_chat_template_and_generate(answers, pictures):
    text = answers(asked(pictures[0]), {"max_new_tokens": 12})
    assert text and text == answers(asked(pictures[0]), {"max_new_tokens": 12, "temperature": 0, "top_p": None})
    assert len(answers.model.processor.tokenizer(text)["input_ids"]) <= 13
    assert text.startswith(answers(asked(pictures[0]), {"max_new_tokens": 2}))


def test_a_text_that_ends_an_answer_is_cut_off(answers, pictures):
    whole = answers(asked(pictures[0]), {"max_new_tokens": 12})
    word = whole.split()[1]
    assert answers(asked(pictures[0]), {"max_new_tokens": 12, "until": [word, ""]}) == whole.split(word)[0].strip()
    assert answers(asked(pictures[0]), {"max_new_tokens": 12, "until": word}) == whole.split(word)[0].strip()


TASK = """
task: vital_toy
dataset_path: json
dataset_kwargs: {data_files: {test: QUESTIONS}}
test_split: test
output_type: generate_until
doc_to_visual: !function toy.to_visual
doc_to_text: question
doc_to_target: answer
generation_kwargs: {max_new_tokens: 12, until: ["never said"]}
process_results: !function toy.results
metric_list: [{metric: same, aggregation: mean, higher_is_better: true}]
"""
FUNCTIONS = """
from PIL import Image

def to_visual(doc):
    return [Image.open(doc["path"]).convert("RGB")]

def results(doc, found):
    return {"same": float(found[0] == doc["answer"])}
"""


@pytest.mark.slow
def test_lmms_eval_runs_a_task_with_it(answers, pictures, tmp_path):
    evaluator = pytest.importorskip("lmms_eval.evaluator", reason="lmms-eval is not installed")
    from lmms_eval.tasks import TaskManager

    from modeling_vital.evaluation.harness.lmms_eval_model import Vital, manifest

    expected = [answers(asked(path), {"max_new_tokens": 12}) for path in pictures]
    rows = [
        {"path": str(path), "question": QUESTION, "answer": answer if number == 0 else "something else"}
        for number, (path, answer) in enumerate(zip(pictures, expected, strict=True))
    ]
    questions = tmp_path / "questions.json"
    questions.write_text("\n".join(map(json.dumps, rows)))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "toy.yaml").write_text(textwrap.dedent(TASK).replace("QUESTIONS", str(questions)))
    (tasks / "toy.py").write_text(FUNCTIONS)
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    model = Vital("vital-tiny", "cpu")
    found = evaluator.simple_evaluate(model, tasks=["vital_toy"], task_manager=manager, process_docs_parallel=1)
    samples = found["samples"]["vital_toy"]
    assert [sample["filtered_resps"][0] for sample in samples] == expected
    assert found["results"]["vital_toy"]["same,none"] == 0.5
    assert manifest().chat_class_path == "modeling_vital.evaluation.harness.lmms_eval_model.Vital"
    with pytest.raises(ValueError, match="batch_size 1"):
        Vital(batch_size=4)


PROMPT = "Question: {}\nOptions:\nA. good\nB. bad\nPlease select the correct answer from the options above. \n"
"""What VLMEvalKit makes of a question with two options."""
AFTER_THE_TASK = """
import json, runpy, sys
from pathlib import Path

run, clip, saved = sys.argv[1:4]
sys.argv = [run, *sys.argv[4:]]
known = runpy.run_path(run, run_name="__main__")
model = known["build_model_from_config"]({"m": {"class": "Vital", "device": "cpu", "max_new_tokens": 12}}, "m")
said = model.generate([{"type": "video", "value": clip}, {"type": "text", "value": "QUESTION"}])
Path(saved).write_text(json.dumps(said))

from modeling_vital.evaluation.harness.vlmevalkit_model import main
main(["vital-tiny", "absent.py"])
"""


@pytest.mark.slow
def test_vlmevalkit_runs_a_task_with_it(answers, pictures, tmp_path):
    # Found, and not imported: it switches gradients and the checks of certificates off for the whole process.
    found = importlib.util.find_spec("vlmeval")
    if found is None:
        pytest.skip("VLMEvalKit is not installed")
    kit = Path(found.origin).parents[1]
    with (tmp_path / "vital_toy.tsv").open("w", newline="") as out:
        rows = csv.writer(out, delimiter="\t")
        rows.writerow(["index", "image", "question", "A", "B", "answer"])
        for number, path in enumerate(pictures):
            rows.writerow([number, base64.b64encode(path.read_bytes()).decode(), QUESTION, "good", "bad", "A"])
    script = tmp_path / "script.py"
    script.write_text(AFTER_THE_TASK.replace("QUESTION", QUESTION))
    saved = tmp_path / "said.json"
    command = [sys.executable, "-m", "modeling_vital.evaluation.harness.vlmevalkit_model", "vital-tiny"]
    command += [script, kit / "run.py", CLIP, saved, "--model", "vital", "--data", "vital_toy"]
    command += ["--judge", "exact_matching", "--work-dir", tmp_path]
    environment = {**os.environ, "LMUData": str(tmp_path), "PRED_FORMAT": "tsv", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(kit)])
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
    )
    # After the task, an answer about a clip and a script that is not there.
    assert done.returncode == 2 and "error: absent.py is not there" in done.stderr, done.stderr[-4000:]
    (predictions,) = (path for path in tmp_path.glob("vital/T*/vital_vital_toy.tsv") if not path.is_symlink())
    with predictions.open(newline="") as lines:
        said = [row["prediction"] for row in csv.DictReader(lines, delimiter="\t")]
    assert said[0] != said[1]
    assert said == [answers(asked(path, PROMPT.format(QUESTION)), {"max_new_tokens": 64}) for path in pictures]
    content = [{"type": "video", "video": str(CLIP)}, {"type": "text", "text": QUESTION}]
    assert json.loads(saved.read_text()) == answers([{"role": "user", "content": content}], {"max_new_tokens": 12})
