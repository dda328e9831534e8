"""The cost model against scaling that others have published. Illustrative: most inputs are assumed, and stated.

    python benchmarks/published.py

Published:
- Horovod, 128 hosts of 4 Pascal GPUs, 25 Gbit/s RoCE, TensorFlow, synthetic data: 90 % for ResNet-101 and 68 % for
  VGG-16 at 512 GPUs (Sergeev and Del Balso 2018, https://arxiv.org/abs/1802.05799, and Horovod's docs/benchmarks), and
  79 % for VGG-16 at 128 GPUs of 32 hosts (docs/benchmarks.md of Horovod's first releases).
- torchtitan, Llama 3.1 8B, H100, FSDP: 5,762 tokens a second a GPU with 8 GPUs and 5,605 with 128, 97.3 %
  (benchmarks/llama3_h100_202412_torchtitan.md in its repository).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hvdtrain.scaling.prediction.allreduce_cost import Software
from hvdtrain.scaling.prediction.links import Cluster, Link
from hvdtrain.scaling.prediction.model import StepProfile, Workload, predict
from hvdtrain.scaling.prediction.overlap import Engine, Gradient

GBIT = 1e9 / 8


@dataclass(frozen=True)
class Layer:
    """A layer's parameters, and the multiply-adds of one image through it."""

    parameters: int
    work: float


def conv(inside: int, outside: int, kernel: int, side: int, bias: bool = False) -> Layer:
    """A convolution whose output is side x side."""
    weights = inside * outside * kernel * kernel
    return Layer(weights + (outside if bias else 0), weights * side * side)


def norm(channels: int) -> Layer:
    """Batch normalisation: gain and bias."""
    return Layer(2 * channels, 0.0)


def linear(inside: int, outside: int) -> Layer:
    return Layer(inside * outside + outside, inside * outside)


def vgg16() -> list[Layer]:
    """VGG configuration D (Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556, table 1)."""
    stages = [(224, [3, 64, 64]), (112, [64, 128, 128]), (56, [128, 256, 256, 256]), (28, [256, 512, 512, 512])]
    stages.append((14, [512, 512, 512, 512]))
    layers = [conv(i, o, 3, side, bias=True) for side, widths in stages for i, o in pairwise(widths)]
    return [*layers, linear(512 * 7 * 7, 4096), linear(4096, 4096), linear(4096, 1000)]


def resnet101() -> list[Layer]:
    """ResNet-101 with bottleneck blocks (He et al. 2016, https://arxiv.org/abs/1512.03385, table 1)."""
    layers, inside = [conv(3, 64, 7, 112), norm(64)], 64
    for width, blocks, side in ((64, 3, 56), (128, 4, 28), (256, 23, 14), (512, 3, 7)):
        for block in range(blocks):
            layers += [conv(inside, width, 1, side), norm(width), conv(width, width, 3, side), norm(width)]
            layers += [conv(width, 4 * width, 1, side), norm(4 * width)]
            if block == 0:
                layers += [conv(inside, 4 * width, 1, side), norm(4 * width)]
            inside = 4 * width
    return [*layers, linear(2048, 1000)]


def gradients(layers: list[Layer]) -> tuple[Gradient, ...]:
    """Backward goes through the layers from the last, each taking its share of all multiply-adds."""
    total, done, found = sum(layer.work for layer in layers), 0.0, []
    for layer in reversed(layers):
        done += layer.work
        found.append(Gradient(4 * layer.parameters, done / total))
    return tuple(found)


def horovod(layers: list[Layer], images_a_second: float, gpus: int) -> float:
    """Return the efficiency that the model predicts for Horovod's benchmark."""
    step = 64 / images_a_second
    work = Workload(
        profile=StepProfile(0.0, step / 3, step * 2 / 3, 0.0),
        gradients=gradients(layers),
        engine=Engine(cycle=5e-3, fusion_bytes=64 * 2**20),
        software=Software(latency=5e-6),
        tokens=64,
        samples=64,
    )
    outer, inner = Link(25 * GBIT, latency=5e-6), Link(10 * 8 * GBIT, latency=1e-6)
    return predict(work, Cluster(gpus, outer, inner, per_host=4)).efficiency


def fsdp_step(compute: float, gpus: int) -> float:
    """Return the seconds of an FSDP step of Llama 3.1 8B, whose units are its 32 layers.

    A GPU gathers each unit's parameters in bf16 before its forward pass, again before its backward pass, and
    reduce-scatters its gradients in float32: 2 + 2 + 4 bytes a parameter instead of the ring all-reduce's 2 x 4. One
    stream carries them in order; the next unit's parameters are gathered while this one computes.
    """
    units, parameters = 32, 8.03e9
    rate = (400 * GBIT if gpus > 8 else 3600 * GBIT) * 0.95  # a network port a GPU, and NVLink within the host
    latency = (gpus - 1) * 5e-6

    def seconds(width: int) -> float:
        return latency + (gpus - 1) / gpus * parameters / units * width / rate

    forward, backward = compute / 3 / units, compute * 2 / 3 / units
    wire = now = 0.0
    arrived = []
    for _ in range(units):
        wire += seconds(2)
        arrived.append(wire)
    for ready in arrived:  # gathering may run ahead of computing
        now = max(now, ready) + forward
    wire = max(wire, now - forward)  # the last unit's parameters stay for its backward pass
    for unit in range(units):
        gathered = wire = wire + (seconds(2) if unit else 0.0)
        now = max(now, gathered) + backward
        wire = max(wire, now) if unit == units - 1 else wire
        wire += seconds(4)
    return max(now, wire)


def torchtitan() -> float:
    """Return the efficiency from 8 to 128 GPUs, with the computation that 5,762 tokens a second a GPU imply for 8."""
    measured = 2 * 8192 / 5762
    low, high = 0.0, measured
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if fsdp_step(middle, 8) > measured else (middle, high)
    return fsdp_step(low, 8) / fsdp_step(low, 128)


ASSUMED = """\
Assumed for Horovod's figures:
- one Pascal GPU: 154 images/s for VGG-16 and 129 for ResNet-101 at batch 64. The first is TensorFlow's measurement
  on a P100 (its r1 benchmarks page, May 2017); the second lies between that page's 219 for ResNet-50 and 91.8 for
  ResNet-152, by multiply-adds. The paper does not say which Pascal GPU it was.
- a third of a step is forward; backward spends on each layer its share of the multiply-adds; no optimizer
- float32 gradients, cycle 5 ms, fusion 64 MiB: Horovod's defaults of that time
- 10 us a message between hosts, 6 us within; 95 % of 25 Gbit/s carries data; 10 GB/s within a host
- no imbalance, no congestion: 128 hosts have the switches to themselves
Assumed for torchtitan's: 400 Gbit/s a GPU between hosts (published with the figures), NVLink within one at 450
GB/s, 5 us a hop, parameters gathered in bf16 twice, gradients reduced in float32, computing as fast at 128 as at 8."""


def main() -> None:
    vgg, resnet = vgg16(), resnet101()
    rows = [
        ("Horovod, ResNet-101, 512 GPUs", 0.90, horovod(resnet, 129, 512)),
        ("Horovod, VGG-16, 128 GPUs", 0.79, horovod(vgg, 154, 128)),
        ("Horovod, VGG-16, 512 GPUs", 0.68, horovod(vgg, 154, 512)),
        ("torchtitan, Llama 3.1 8B, 8 to 128 GPUs", 0.973, torchtitan()),
    ]
    print("Scaling efficiency, published and predicted. ILLUSTRATIVE: the inputs below are assumptions.\n")
    print(f"{'':42}{'published':>10}{'model':>10}")
    for name, published, predicted in rows:
        print(f"{name:42}{published:>10.1%}{predicted:>10.1%}")
    print(f"\nparameters: ResNet-101 {sum(x.parameters for x in resnet):,}, VGG-16 {sum(x.parameters for x in vgg):,}")
    print(ASSUMED)


if __name__ == "__main__":
    main()
