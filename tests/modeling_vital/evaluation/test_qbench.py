"""Multiple-choice questions: options in an order that stays, answers read strictly, baselines."""

import json

import pytest
from PIL import Image

from modeling_vital.cli import evaluate
from modeling_vital.cli.main import main
from modeling_vital.evaluation.benchmarks import BenchmarkError
from modeling_vital.evaluation.qbench import Question, load_questions, option_order, prompt, read_answer
from modeling_vital.outputs_vital import Answer
from tests.fixtures.tiny_models import tiny_model


def put_qbench(root, count=12):
    """A small LLVisionQA: the first option is right in three of four."""
    entries = []
    for i in range(count):
        options = ["Good", "Fair", "Bad"]
        entry = {"img_path": f"livefb__{i}.jpg", "question": f"How clear is picture {i}?", "candidates": options}
        entries.append(entry | {"correct_ans": options[i % 4 == 0], "type": i % 2, "concern": "distortion"})
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * i,) * 3).save(root / "images" / f"livefb__{i}.jpg")
    (root / "llvisionqa_dev.json").write_text(json.dumps(entries))
    return entries


def test_the_list_is_read_and_its_faults_are_named(tmp_path):
    entries = put_qbench(tmp_path / "my copy")
    loaded = load_questions("qbench", tmp_path, partial_copy=True)
    question = loaded.items[1].media()
    assert (question.text, question.options) == ("How clear is picture 1?", ("Good", "Fair", "Bad"))
    assert question.kinds == {"type": "1", "concern": "distortion"}
    assert [item.mos for item in loaded.items[:5]] == [1, 0, 0, 0, 1]
    assert loaded.partial
    with pytest.raises(BenchmarkError, match="12 questions.* 1495"):
        load_questions("qbench", tmp_path)
    entries[0]["candidates"] = ["Fair", "Fair"]  # one option only: cannot be asked
    (tmp_path / "my copy" / "images" / "livefb__3.jpg").unlink()
    path = tmp_path / "my copy" / "llvisionqa_dev.json"
    path.write_text(json.dumps(entries))
    loaded = load_questions("qbench", tmp_path, partial_copy=True)
    assert loaded.missing == ["3:livefb__3.jpg", "0:livefb__0.jpg"]
    assert "1 questions have one option only" in loaded.benchmark.note
    entries[1]["correct_ans"] = "Great"
    path.write_text(json.dumps(entries))
    with pytest.raises(BenchmarkError, match="'Great'.* 1"):
        load_questions("qbench", tmp_path, partial_copy=True)
    del entries[1]["correct_ans"]
    path.write_text(json.dumps(entries))
    with pytest.raises(BenchmarkError, match="question 1 .*'correct_ans'"):
        load_questions("qbench", tmp_path, partial_copy=True)
    with pytest.raises(BenchmarkError, match="qbvideo_dev_single.json"):
        load_questions("qbench_video", tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b'[{"img_path": "a.jpg"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a": 1}',
        b'"text"',
        b"[3]",
        b'[{"candidates": 3, "correct_ans": "a", "img_path": "a.jpg", "question": "?"}]',
        b'[{"candidates": ["a", "b"], "correct_ans": "a", "img_path": null, "question": "?"}]',
        b'[{"candidates": ["a", "b"], "correct_ans": "a", "img_path": "a.jpg", "question": null}]',
    ],
)
def test_a_damaged_list_is_named(content, tmp_path, capsys):
    (tmp_path / "llvisionqa_dev.json").write_bytes(content)
    with pytest.raises(BenchmarkError, match="llvisionqa_dev.json"):
        load_questions("qbench", tmp_path, partial_copy=True)
    assert run(tmp_path, "--model", "vital-tiny") == 2
    assert "llvisionqa_dev.json" in capsys.readouterr().err


def test_the_video_list(tmp_path):
    entry = {"video": "a/1.mp4", "question": "Is it shaky?", "answers": ["Yes", "No", "", ""], "correct_ans": "No"}
    entry |= {"question_type": "Yes-or-No", "quality_concern": "temporal", "video_type": "AIGC", "correct_choice": "B"}
    (tmp_path / "qbvideo_dev_single.json").write_text(json.dumps([entry]))
    (tmp_path / "videos" / "a").mkdir(parents=True)
    (tmp_path / "videos" / "a" / "1.mp4").write_bytes(b"")
    (item,) = load_questions("qbench_video", tmp_path, partial_copy=True).items
    assert item.media().options == ("Yes", "No")
    assert item.mos == 1


def test_order_depends_on_question_and_seed_alone():
    questions = [Question("x/a.jpg", f"question {i}", ("p", "q", "r", "s"), {}) for i in range(200)]
    orders = [option_order(question, 0) for question in questions]
    assert orders == [option_order(Question("elsewhere/a.jpg", q.text, q.options, {}), 0) for q in questions]
    assert orders != [option_order(question, 1) for question in questions]
    first = [order[0] for order in orders]
    assert all(30 <= first.count(option) <= 70 for option in range(4))  # about 50 each


def test_prompt():
    assert prompt("How?", ["Yes", "No"]) == "How?\nA. Yes\nB. No\nAnswer with the letter of the right option."


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("B", 1),
        (" B. No", 1),
        ("(A)", 0),
        ("no.", 1),
        ("Yes", 0),
        ("A good picture", None),  # an article, not a letter
        ("Because it is sharp", None),
        ("D", None),
        ("", None),
    ],
)
def test_answers_are_read_strictly(text, place):
    assert read_answer(text, ["Yes", "No", "Maybe"]) == place


class AlwaysA:
    """Picks the first letter whatever it is shown."""

    def __init__(self):
        self.model, self.asked = tiny_model(), 0
        self.config, self.processor, self.dtype = self.model.config, self.model.processor, self.model.dtype

    def answer(self, item, question, choices=None, **kwargs):
        self.asked += 1
        assert question.endswith("Answer with the letter of the right option.")
        return Answer("A" if choices else "I cannot say")


def run(tmp_path, *args):
    return main(["evaluate", "--benchmark", "qbench", "--root", str(tmp_path), "--partial", *args])


def test_always_a_gets_what_is_reported_for_it(tmp_path, monkeypatch, capsys):
    put_qbench(tmp_path, 40)
    model = AlwaysA()
    monkeypatch.setattr(evaluate, "load_model", lambda source, device: model)
    args = ["--model", "vital-tiny", "--output", str(tmp_path / "out")]
    assert run(tmp_path, *args, "--format", "json") == 0
    (found,) = json.loads(capsys.readouterr().out)["models"]
    assert found["accuracy"] == found["always_a_as_shown"] < 0.6
    assert found["always_a_in_the_file"] == 0.75
    assert found["letters"] == {"A": 40}
    assert found["by"]["type"]["0"]["n"] == 20
    halves = [found["by"]["type"][value]["accuracy"] for value in "01"]
    assert sum(halves) / 2 == pytest.approx(found["accuracy"])
    assert run(tmp_path, *args) == 0
    assert model.asked == 40  # nothing is asked again
    assert "always A, in the file's order" in capsys.readouterr().out
    assert run(tmp_path, *args, "--method", "generate", "--format", "json") == 0
    (found,) = json.loads(capsys.readouterr().out)["models"]
    assert (found["accuracy"], found["no_option"]) == (0, 40)
    assert run(tmp_path, "--peer", "a:B") == 2


@pytest.mark.parametrize("method", ["likelihood", "generate"])
def test_the_real_model(method, tmp_path, capsys):
    put_qbench(tmp_path, 3)
    assert run(tmp_path, "--model", "vital-tiny", "--method", method, "--format", "json") == 0
    (found,) = json.loads(capsys.readouterr().out)["models"]
    assert found["n"] == 3
    assert sum(found["letters"].values()) + found["no_option"] == 3
    assert len(found["sha256"]) == 64
