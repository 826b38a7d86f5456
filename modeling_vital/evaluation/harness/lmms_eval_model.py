"""VITAL as a chat model of lmms-eval: `--model vital --model_args pretrained=vital-tiny`.

The package's entry point makes the name known to lmms-eval; there is nothing to import or register.
"""

from typing import Any

from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest
from lmms_eval.protocol import ChatMessages
from tqdm import tqdm

from modeling_vital.evaluation.harness.conversations import ChatAnswers


class Vital(lmms):
    """Answers the questions of tasks that ask for text.

    Args:
        pretrained (`str`, *optional*, defaults to `"vital-tiny"`): a name of the zoo, a folder, or a Hub id.
        device (`str`, *optional*): by default a GPU where there is one.
        dtype (`str`, *optional*, defaults to `"auto"`): of the weights.
        batch_size (`int`, *optional*, defaults to 1): lmms-eval always gives one; items are answered one by one.
    """

    is_simple = False

    def __init__(
        self, pretrained: str = "vital-tiny", device: str | None = None, dtype: str = "auto", batch_size: int = 1
    ) -> None:
        super().__init__()
        if int(batch_size) != 1:
            raise ValueError(f"vital answers one item at a time: give batch_size 1, not {batch_size}")
        self._answers = ChatAnswers(pretrained, device, dtype)

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Answers requests in their order. Pictures and clips come from each task's `doc_to_messages`."""
        found = []
        for request in tqdm(requests, desc="vital", unit="item", delay=2, disable=self.rank != 0):
            _, to_messages, settings, number, task, split = request.args
            messages = ChatMessages(messages=to_messages(self.task_dict[task][split][number])).to_hf_messages()
            found.append(self._answers(messages, settings))
        return found

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Not offered.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("vital answers one question of an item; tasks of several rounds are not supported")

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not offered; `VitalForConditionalGeneration.answer(choices=...)` judges options.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("vital offers no log-likelihoods to lmms-eval; take a task of type generate_until")


def manifest() -> Any:
    """Names the model to lmms-eval, which finds this function by the entry point `lmms_eval.models`."""
    return ModelManifest("vital", chat_class_path=f"{__name__}.{Vital.__name__}")
