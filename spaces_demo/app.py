"""The demo: `python app.py`, or a Space. `VITAL_MODELS` lists other models than those of the package."""

import atexit
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path


PARENT = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).absolute()
PARENT.mkdir(parents=True, exist_ok=True)
FOLDER = Path(tempfile.mkdtemp(prefix="vital-demo-", dir=PARENT))
os.environ["GRADIO_TEMP_DIR"] = str(FOLDER)  # one of its own, since it is swept and in the end removed
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

import housekeeping  # noqa: E402
import inference  # noqa: E402  before ui: it may have to come before torch
import samples  # noqa: E402
import ui  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402


MAX_WAITING = 32

housekeeping.limit_gradio()
page = ui.build(inference.Assessor.from_environment())
page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)

if __name__ == "__main__":
    housekeeping.sweep_regularly(FOLDER, lambda: ui.kept_files(page))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # ends as after Ctrl-C, so that nothing is left
    limits = {"middleware": [Middleware(housekeeping.LimitedBodies)]}
    shown = {"theme": ui.THEME, "css": ui.CSS, "footer_links": ["api"], "allowed_paths": [str(samples.EXAMPLES)]}
    page.launch(max_file_size=f"{inference.MAX_FILE_MB}mb", app_kwargs=limits, **shown)
