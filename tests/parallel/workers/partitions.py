"""Each worker deals itself its samples; together they hold every sample once, and what the partition promises."""

from __future__ import annotations

import numpy as np
import torch

from hvdtrain import world as worlds
from hvdtrain.data.loader import evaluation_batches, make_loader
from hvdtrain.data.partitions import contiguous, dirichlet, random, shard, stratified

SAMPLES, EPOCHS = 101, 2
LABELS = np.arange(SAMPLES) ** 2 % 4
SHARDS = np.arange(SAMPLES) // 17


class Data:
    """Samples that are their own index."""

    targets, labels, shards = SAMPLES, LABELS, SHARDS

    def __len__(self) -> int:
        return SAMPLES

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        return {"inputs": torch.from_numpy(np.asarray(indices))}


world = worlds.start({"HOROVOD_CYCLE_TIME": "1"})
for config in (random.Config(), stratified.Config(), contiguous.Config(), shard.Config(), dirichlet.Config(alpha=0.3)):
    loader = make_loader(
        Data(),
        config,
        seed=5,
        global_batch_size=4 * world.size,
        micro_batch_size=2,
        rank=world.rank,
        size=world.size,
        epochs=EPOCHS,
        numbered=True,
    )
    own = [[[b["number"].tolist(), b["inputs"].tolist()] for b in batches] for batches in loader]
    everyone = world.gather(own)
    assert {len(updates) for updates in everyone} == {loader.total_steps}, config.name
    assert all(len(batches) <= 2 for updates in everyone for batches in updates), config.name
    rows = sorted(
        (number, sample, rank)
        for rank, updates in enumerate(everyone)
        for batches in updates
        for numbers, samples in batches
        for number, sample in zip(numbers, samples, strict=True)
    )
    numbers, samples, ranks = np.array(rows).reshape(EPOCHS, SAMPLES, 3).transpose(2, 0, 1)
    assert numbers.reshape(-1).tolist() == list(range(EPOCHS * SAMPLES)), config.name
    for epoch in range(EPOCHS):
        assert sorted(samples[epoch]) == list(range(SAMPLES)), config.name
    owners = [dict(zip(samples[epoch].tolist(), ranks[epoch].tolist(), strict=True)) for epoch in range(EPOCHS)]
    assert (owners[0] == owners[1]) == config.depends_on_workers, config.name
    if config.name == "stratified":
        for epoch in range(EPOCHS):
            counts = np.zeros((world.size, 4), dtype=int)
            np.add.at(counts, (ranks[epoch], LABELS[samples[epoch]]), 1)
            assert (counts.max(0) - counts.min(0) <= 1).all(), counts
    if config.name == "shard":
        assert all(len({owners[0][i] for i in np.flatnonzero(s == SHARDS)}) == 1 for s in range(6))

seen = [i for b in evaluation_batches(Data(), world.rank, world.size, 4, 50) for i in b["inputs"].tolist()]
together = sorted(i for own in world.gather(seen) for i in own)
assert together == [i * SAMPLES // 50 for i in range(50)]
print(f"partitions hold on worker {world.rank}")
world.close()
