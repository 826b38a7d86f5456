"""`python -m modeling_vital`: the command `vital`, for where it is not on the path."""

import sys

from .cli.main import main


if __name__ == "__main__":
    sys.exit(main())
