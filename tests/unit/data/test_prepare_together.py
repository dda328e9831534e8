"""Workers that prepare the same data at the same time: one builds, and all get the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CORPUS = """
import json, sys
from hvdtrain.data import prepare as module
from hvdtrain.data.sources import text
from hvdtrain.data.tokenizers import bpe

build = module._build
def counted(*arguments):
    print("building", flush=True)
    return build(*arguments)
module._build = counted
data = module.prepare(text.Config(paths=[sys.argv[1]], max_seq_len=8), bpe.Config(vocab_size=300), 1)
print(json.dumps([data.fingerprint, len(data.train), data.references["loss"]["unigram baseline"]]))
"""


@pytest.mark.usefixtures("empty_cache")
def test_three_processes_prepare_a_corpus_together_and_one_builds(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}.txt").write_text(f"text {number} of the day and the night\n" * (3 + number % 4))
    command = [sys.executable, "-c", CORPUS, str(tmp_path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [worker.communicate(timeout=120)[0].splitlines() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sum(output[0] == "building" for output in outputs) == 1
    assert len({output[-1] for output in outputs}) == 1
    assert json.loads(outputs[0][-1])[1] > 0


EXAMPLES = """
import sys, numpy as np
from types import SimpleNamespace
from hvdtrain import registry
from hvdtrain.data import prepare_examples as module
from hvdtrain.data._config import TextExamplesConfig
from hvdtrain.data.examples import Examples
from hvdtrain.data.tokenizers import bpe
texts = [f"a text of number {number}" for number in range(200)]
source = SimpleNamespace(examples=lambda config: Examples(texts, None, "f"))
module.find = lambda kind, name: source if kind == "data" else registry.find(kind, name)
write = module.write_rows
def counted(*arguments):
    print("built", file=sys.stderr)
    write(*arguments)
module.write_rows = counted
data = module.prepare_examples(TextExamplesConfig(name="fake"), bpe.Config(vocab_size=300), 1)
print(data.fingerprint, int(data.test.batch(np.arange(len(data.test)))["inputs"].sum()))
"""


@pytest.mark.usefixtures("empty_cache")
def test_three_processes_tokenise_samples_once() -> None:
    command = [sys.executable, "-c", EXAMPLES]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ends = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], ends
    assert len({out for out, _ in ends}) == 1
    assert "".join(err for _, err in ends).count("built") == 1
