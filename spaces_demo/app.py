"""The demo: `python app.py`, or a Space. `VITAL_MODELS` lists other models than those of the package."""

import atexit
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path


OWN_FOLDER = None if os.environ.get("GRADIO_TEMP_DIR") else tempfile.mkdtemp(prefix="vital-demo-")
os.environ.setdefault("GRADIO_TEMP_DIR", OWN_FOLDER or "")  # not the one that all demos of a user share: it is swept

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
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    housekeeping.sweep_regularly(folder, lambda: ui.kept_files(page))
    atexit.register(
        shutil.rmtree if OWN_FOLDER else housekeeping.sweep, folder, **({} if OWN_FOLDER else {"age_s": 0})
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # ends as after Ctrl-C, so that nothing is left
    limits = {"middleware": [Middleware(housekeeping.LimitedBodies)]}
    shown = {"theme": ui.THEME, "css": ui.CSS, "footer_links": ["api"], "allowed_paths": [str(samples.EXAMPLES)]}
    page.launch(max_file_size=f"{inference.MAX_FILE_MB}mb", app_kwargs=limits, **shown)
