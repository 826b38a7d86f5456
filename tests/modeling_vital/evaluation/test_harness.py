"""Conversations through the chat template, and the adapter for lmms-eval in lmms-eval itself where it is installed."""

import json
import textwrap
from pathlib import Path

import pytest
from PIL import Image

from modeling_vital.evaluation.harness.conversations import ChatAnswers


EXAMPLES = Path(__file__).parents[3] / "spaces_demo/examples"
QUESTION = "How is the quality of this picture?"


@pytest.fixture(scope="module")
def answers():
    return ChatAnswers("vital-tiny", "cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for number, level in enumerate((0.2, 1.0)):
        paths.append(folder / f"{number}.png")
        Image.radial_gradient("L").resize((96, 80)).point(lambda value, level=level: value * level).save(paths[-1])
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
