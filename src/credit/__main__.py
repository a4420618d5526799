"""`python -m credit`."""

import os
import sys

from credit.cli import main

status = main()
if "LOCAL_RANK" in os.environ:
    from credit.cli.launch import leave

    leave(status)
sys.exit(status)
