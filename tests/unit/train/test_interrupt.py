from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from hvdtrain.train.interrupt import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request(number: int) -> None:
    with Interrupt() as interrupt:
        interrupt.begin()
        assert not interrupt.requested
        os.kill(os.getpid(), number)
        assert interrupt.requested


def test_the_second_ctrl_c_interrupts_at_once() -> None:
    with Interrupt() as interrupt:
        interrupt.begin()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_handlers_from_before_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_there_is_anything_to_save_a_signal_ends_the_process(number: int) -> None:
    """Also where the exception would be swallowed, as imports of compiled modules do."""
    code = f"""
import os
from hvdtrain.train.interrupt import Interrupt
with Interrupt():
    try:
        os.kill(os.getpid(), {int(number)})
    except BaseException:
        pass
    print("still here")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 128 + number
    assert "still here" not in ended.stdout
