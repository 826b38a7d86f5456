"""Housekeeping of the demo: removes what visitors leave, and bounds what requests can ask for."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NoReturn


MAX_BODY_BYTES = 2**20
UPLOADS_KEPT_S = 3600
SWEEP_S = 600
NO_ADDRESSES = "Upload the file; addresses are not fetched."

_DRAINED = 64


def sweep(folder: Path, kept: Collection[str] = (), age_s: float = UPLOADS_KEPT_S) -> int:
    """Removes what visitors left in a folder: uploads, results, and the parts of uploads that broke off.

    Args:
        folder (`Path`): where gradio puts them.
        kept (`Collection[str]`, *optional*): paths to leave, such as those of the examples.
        age_s (`float`, *optional*): what changed later stays.

    Returns:
        `int`: files removed.
    """
    removed, before = 0, time.time() - age_s
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in [*names, *folders]:
            path = Path(parent, name)
            with contextlib.suppress(OSError):  # gone meanwhile, or a folder that is not empty
                if str(path) in kept or path.lstat().st_ctime > before:
                    continue
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
                removed += name in names
    return removed


def sweep_regularly(folder: Path, kept: Callable[[], Collection[str]], every_s: float = SWEEP_S) -> threading.Thread:
    """Starts a thread that calls [`sweep`] for as long as the demo runs."""

    def run() -> None:
        while True:
            time.sleep(every_s)
            sweep(folder, kept())

    thread = threading.Thread(target=run, name="sweep", daemon=True)
    thread.start()
    return thread


def limit_gradio() -> None:
    """Makes Gradio refuse addresses, and the components that the conversation of a request names.

    It would read an address in place of a file into memory, of any size, while all other visitors wait, and serve any
    address under `/gradio_api/file=`. A component in a conversation is built with the arguments that stand there, and
    reads files that nobody uploaded.

    Raises:
        RuntimeError: if this version of Gradio has other functions for that.
    """
    from gradio import Error, processing_utils, routes
    from gradio.components import chatbot

    async def no_download(url: str) -> NoReturn:
        raise Error(NO_ADDRESSES, title="Refused", print_exception=False)

    async def no_stream(url: str, request: Any) -> NoReturn:
        raise routes.HTTPException(403, NO_ADDRESSES)

    def no_component(name: str) -> NoReturn:
        raise Error("This is no conversation; start a new one.", title="Refused", print_exception=False)

    for module, name, refusal in (
        (processing_utils, "async_ssrf_protected_get", no_download),  # under each of its ways to download
        (routes, "secure_url_stream_response", no_stream),
        (chatbot, "import_component_and_data", no_component),
    ):
        if not hasattr(module, name):
            raise RuntimeError(f"This version of gradio has no {module.__name__}.{name}; use the one in README.md.")
        setattr(module, name, refusal)


class LimitedBodies:
    """ASGI middleware: refuses a request whose body is over `MAX_BODY_BYTES`, but for uploads, which gradio limits.

    Args:
        app: the application.
    """

    def __init__(self, app: Callable) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Passes a request on, or answers 413."""
        if scope["type"] != "http" or scope["path"].endswith("/gradio_api/upload"):
            await self._app(scope, receive, send)
            return
        messages, size, more = [], 0, scope["method"] not in ("GET", "HEAD", "OPTIONS")
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            # The rest is read and dropped, up to a point: who still writes does not get to read an answer.
            more = message.get("more_body", False) and size < _DRAINED * MAX_BODY_BYTES
            if size <= MAX_BODY_BYTES:
                messages.append(message)
        if size > MAX_BODY_BYTES:
            await send({"type": "http.response.start", "status": 413, "headers": []})
            await send({"type": "http.response.body", "body": b"This request is too large."})
            return

        async def replayed() -> dict[str, Any]:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, replayed, send)
