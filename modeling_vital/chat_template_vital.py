"""Renders a checkpoint's chat template within a time limit: a stranger's may loop for ever."""

import ctypes
import threading
from collections.abc import Callable


RENDER_TIMEOUT_S = 10.0


class TemplateError(ValueError):
    """A chat template that cannot be rendered. The message names it and says what to do."""


def render(work: Callable[[], str], timeout_s: float | None = None) -> str:
    """Lets a template be rendered, in a thread that is ended when the time is over.

    Args:
        work (`Callable[[], str]`): renders it.
        timeout_s (`float`, *optional*): seconds it may take; `RENDER_TIMEOUT_S` by default.

    Returns:
        `str`: the text.

    Raises:
        TemplateError: it cannot be rendered, or not within the time.
    """
    timeout_s = RENDER_TIMEOUT_S if timeout_s is None else timeout_s
    outcome: list[str | BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # told by who waits: a template raises almost anything
            outcome.append(error)

    thread = threading.Thread(target=run, name="vital template", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        assert thread.ident is not None  # it was started
        # A template is Python that jinja made, and has no `except`: raised at its next step, this ends it.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
        raise TemplateError(
            f"The chat template of the checkpoint (chat_template.jinja) takes over {timeout_s:g} s; mend it."
        )
    if isinstance(outcome[0], Exception):
        reason = f"{type(outcome[0]).__name__}: {str(outcome[0])[:200]}"
        raise TemplateError(
            f"The chat template of the checkpoint (chat_template.jinja) cannot be rendered ({reason}); mend it."
        ) from outcome[0]
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


__all__ = ["RENDER_TIMEOUT_S", "TemplateError", "render"]
