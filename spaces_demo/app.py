"""The demo: `python app.py`, or a Space. `VITAL_MODELS` lists other models than those of the package."""

import inference  # first: it may have to come before torch
import ui


MAX_WAITING = 32

page = ui.build(inference.Assessor.from_environment())
page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)

if __name__ == "__main__":
    page.launch(css=ui.CSS, max_file_size=f"{inference.MAX_FILE_MB}mb", footer_links=["api"])
