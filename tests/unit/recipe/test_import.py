from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from hvdtrain.recipe import dump, load, schema, shipped
for name in shipped():
    dump(load(name).recipe)
schema()
print(*sorted({"torch", "numpy", "horovod", "rich", "tokenizers"} & sys.modules.keys()))
"""


def test_a_recipe_is_validated_without_torch_or_numpy() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
