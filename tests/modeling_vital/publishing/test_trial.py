"""What a trial's process says decides, not how it ends."""

import subprocess

import pytest

from modeling_vital.publishing import trial
from modeling_vital.publishing.errors import PublishError


def ended(monkeypatch, code, out, err):
    done = subprocess.CompletedProcess([], code, out, err)
    monkeypatch.setattr(trial.subprocess, "run", lambda *args, **kwargs: done)


def test_an_answer_counts_though_a_library_crashed_afterwards(monkeypatch):
    ended(monkeypatch, -6, 'noise\ntrial: {"score": 0.5}\n', "terminate called without an active exception")
    assert trial.run_trial("model", "folder") == {"score": 0.5}


@pytest.mark.parametrize(
    ("code", "err", "said"), [(1, "Traceback\nOSError: no weights\n", "no weights"), (3, "", "3")]
)
def test_without_an_answer_the_last_words_are_the_reason(monkeypatch, code, err, said):
    ended(monkeypatch, code, "noise\n", err)
    with pytest.raises(PublishError, match=f"model folder .*{said}"):
        trial.run_trial("model", "folder")
