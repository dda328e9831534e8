"""gradients.py through a parameter server whose chunks are small, with every collective counted.

Argument: a JSON object of the strategy's Config.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import horovod.torch as hvd
import torch

from hvdtrain.sync import _parameter_server

CHUNK = 37
_parameter_server._CHUNK = CHUNK
options = json.loads(sys.argv[1])
sent: list[int] = []
received: list[int] = []
summed: list[int] = []
backwards: list[None] = []
alltoall_async, synchronize = hvd.alltoall_async, hvd.synchronize
allreduce_async_, backward = hvd.allreduce_async_, torch.autograd.backward


def counted_alltoall(tensor, splits, name):
    assert len(splits) == hvd.size()
    assert splits[hvd.rank()] == 0, "what a server hands itself needs no engine"
    assert sum(splits) == len(tensor)
    sent.append(len(tensor))
    return alltoall_async(tensor, splits, name=name)


def counted_synchronize(handle):
    result = synchronize(handle)
    if isinstance(result, tuple):
        received.append(len(result[0]))
    return result


def counted_allreduce(tensor, **options):
    summed.append(tensor.numel())
    return allreduce_async_(tensor, **options)


def counted_backward(*arguments, **options):
    backwards.append(None)
    return backward(*arguments, **options)


def refused(*arguments, **options):
    raise AssertionError("a collective that is no business of a parameter server")


hvd.alltoall_async, hvd.synchronize, hvd.allreduce_async_ = counted_alltoall, counted_synchronize, counted_allreduce
hvd.reducescatter_async = hvd.allgather_async = hvd.allgather = hvd.broadcast_async_ = refused
torch.autograd.backward = counted_backward
sys.argv = ["gradients.py", json.dumps({"name": "parameter_server"} | options), "1e-6"]
found = runpy.run_path(str(Path(__file__).with_name("gradients.py")))

strategy, world, steps = found["strategy"], found["world"], found["STEPS"]
elements = sum(p.numel() for p in found["model"].parameters())
servers, dedicated = options.get("servers", 1), options.get("placement") == "dedicated"
share = -(-elements // servers)
training = world.size - servers if dedicated else world.size
trains = world.rank < training
serves = world.rank >= training if dedicated else world.rank < servers
assert share > CHUNK, "several chunks, or this shows nothing"

peers = training - (trains and serves)
asked = servers - serves if trains else 0
# Dedicated servers get each other's parameters where the run's result is looked at, which gradients.py does each step.
among_servers = servers - 1 if dedicated and serves else 0
assert sum(sent) == steps * share * (asked + (peers + among_servers if serves else 0))
assert sum(received) == steps * share * (asked + (peers + among_servers if serves else 0))
assert max(received) <= CHUNK * world.size
assert max(summed) <= 4, "gradients and parameters must not be all-reduced"
assert strategy.server_bytes_per_step == (4 * share * (training - (not dedicated)),) * 2
assert strategy.bytes_per_step == 4 * 2 * servers * share * (training - (not dedicated)) / training

momentum = 4 * min(share, max(0, elements - share * (world.rank - training if dedicated else world.rank)))
assert strategy.state_bytes() == (momentum if serves else 0)
assert len(backwards) == steps * (1 + (found["PASSES"] if trains else 0)), "the reference, and the loop's passes"
print(f"point to point on worker {world.rank}")
