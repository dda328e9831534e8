"""`hvdtrain ARGUMENTS`, and which modules it leaves imported in each worker: imported.py NAMES ARGUMENTS."""

import os
import sys
from pathlib import Path

from hvdtrain.cli.app import app

names = sys.argv[1].split(",")
app(sys.argv[2:], standalone_mode=False)
rank = os.environ["HOROVOD_RANK"]
Path(f"imported-{rank}").write_text(" ".join(name for name in names if name in sys.modules))
