"""Whether hosts fit together: pure checks over what each of them told. Each problem names a host and what to do."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hvdtrain.launch.host_facts import PACKAGES, HostFacts

Interface = ipaddress.IPv4Interface


@dataclass
class Verdict:
    """What keeps a job from working, and what may."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def examine(
    facts: Sequence[HostFacts], *, gloo: bool, named: Sequence[str] = (), launcher: HostFacts | None = None
) -> Verdict:
    """Return what is wrong with hosts of which at least one is not this machine.

    Args:
        facts: of all hosts of the job, in its order.
        launcher: of this machine where it is no host of the job. Gloo's workers meet on it, over the same interface.
        gloo: the workers are coordinated by Gloo, otherwise by MPI.
        named: the interfaces that `--network-interfaces` names; none: horovodrun searches for common ones itself.
    """
    verdict = Verdict()
    parties = [*facts, launcher] if launcher is not None and gloo else facts
    check_versions(parties, verdict)
    if not gloo:
        verdict.problems += [f"{one.name}: its Horovod has no MPI; use --gloo" for one in facts if not one.mpi]
    if len(facts) > 1:
        check_own_names(facts, verdict, gloo=gloo)
    if named:
        check_named_interfaces(parties, verdict, named)
    elif len(parties) > 1:
        check_common_interfaces(parties, verdict)
    return verdict


def check_versions(facts: Sequence[HostFacts], verdict: Verdict) -> None:
    """All hosts have the first one's hvdtrain, Horovod and torch: others may agree on nothing, or on other numbers."""
    first = facts[0]
    for one in facts:
        lacking = [package for package in PACKAGES if one.versions.get(package) is None]
        if lacking:
            verdict.problems.append(f"{one.name}: {' and '.join(lacking)} not installed there; run scripts/install")
        others = [
            f"{package} {one.versions[package]}, {first.name} has {first.versions[package]}"
            for package in PACKAGES
            if one.versions.get(package) and first.versions.get(package) not in (None, one.versions[package])
        ]
        if others:
            verdict.problems.append(f"{one.name}: has {'; '.join(others)}; install the same on all hosts")


def check_own_names(facts: Sequence[HostFacts], verdict: Verdict, *, gloo: bool) -> None:
    """Every host's own name resolves, on that host, to an address that the others can connect to.

    Gloo's context for process sets takes that address, whatever `--network-interfaces` says. Where it is a loopback
    address, the workers start and then die of `connect [127.0.0.1]: Connection refused`.
    """
    for one in facts:
        problem = own_name_problem(one)
        if problem and gloo:
            verdict.problems.append(f"{one.name}: {problem}")
        elif problem:
            verdict.warnings.append(f"{one.name}: {problem}; with MPI it does not matter")


def own_name_problem(one: HostFacts) -> str | None:
    """Return what is wrong with the address that a host's own name has on it, or None."""
    usable = _usable(one)
    address = next((str(found.ip) for found in usable.values()), "ADDRESS")
    mend = f"put the line '{address} {one.own_name}' first in its /etc/hosts"
    if one.address is None:
        return f"its own name, {one.own_name}, has no address there; {mend}"
    if ipaddress.ip_address(one.address).is_loopback:
        return (
            f"its own name, {one.own_name}, resolves there to {one.address}, where other hosts can't reach it; {mend}"
        )
    own = {str(found.ip) for addresses in one.interfaces.values() for found in map(Interface, addresses)}
    if one.address not in own:
        return f"its own name, {one.own_name}, resolves there to {one.address}, which is no address of it; {mend}"
    return None


def check_named_interfaces(facts: Sequence[HostFacts], verdict: Verdict, named: Sequence[str]) -> None:
    """The interfaces of `--network-interfaces` are there, on every host, with an address that other hosts can use.

    Of several, Gloo takes one, which is left to chance; Open MPI crashes where a host lacks one of them.
    """
    flag = f"--network-interfaces {','.join(named)}"
    for one in facts:
        missing = [name for name in named if name not in one.interfaces]
        if missing:
            verdict.problems.append(
                f"{one.name}: has no interface {' or '.join(missing)} ({flag}); it has {_listed(one)}"
            )
        for name in (name for name in named if name in one.interfaces and name not in _usable(one)):
            verdict.problems.append(
                f"{one.name}: {name} is {one.interfaces[name][0]} there, which other hosts can't reach ({flag}); "
                f"it has {_listed(one)}"
            )
    for name in named:
        _check_network(name, facts, verdict)


def _check_network(name: str, facts: Sequence[HostFacts], verdict: Verdict) -> None:
    found = [(one.name, _usable(one)[name]) for one in facts if name in _usable(one)]
    for index, (host, address) in enumerate(found):
        twin = next((other for other, taken in found[:index] if taken.ip == address.ip), None)
        if twin is not None:
            verdict.problems.append(
                f"{host}: {name} has the address {address.ip} that it has on {twin} too, so it leads nowhere"
            )
            return
    if len({address.network for _, address in found}) > 1:
        said = ", ".join(f"{host} {address}" for host, address in found)
        verdict.warnings.append(f"{name} is in different networks ({said}): it works only where these are routed")


def check_common_interfaces(facts: Sequence[HostFacts], verdict: Verdict) -> None:
    """The hosts share one interface name, in one network, so that horovodrun finds it by itself."""
    names = sorted(set.intersection(*(set(_usable(one)) for one in facts)))
    common = [name for name in names if _distinct(name, facts)]
    together = [name for name in common if len({_usable(one)[name].network for one in facts}) == 1]
    if not common:
        had = "; ".join(f"{one.name} has {_listed(one)}" for one in facts)
        verdict.problems.append(
            f"{facts[0].name} and the others share no network interface: {had}; it must have one name on all "
            f"hosts: rename it (ip link set NAME name eth0), then give --network-interfaces eth0"
        )
    elif not together:
        verdict.warnings.append(
            f"the hosts share {' and '.join(common)}, but in different networks; if workers do not find each other, "
            f"say which they can use: --network-interfaces {common[0]}"
        )
    elif len(common) > 1:
        verdict.warnings.append(
            f"the hosts share {' and '.join(common)}, and Horovod takes any of them; say which is the fast one: "
            f"--network-interfaces {together[0]}"
        )


def _distinct(name: str, facts: Sequence[HostFacts]) -> bool:
    """Whether an interface has another address on each host: a bridge of containers has the same one everywhere."""
    return len({_usable(one)[name].ip for one in facts}) == len(facts)


def _usable(one: HostFacts) -> dict[str, Interface]:
    """The first address of each interface of a host that other hosts may be able to reach."""
    wrong: Callable[[Interface], bool] = lambda found: found.ip.is_loopback or found.ip.is_link_local  # noqa: E731
    first = {name: Interface(addresses[0]) for name, addresses in one.interfaces.items()}
    return {name: found for name, found in first.items() if not wrong(found)}


def _listed(one: HostFacts) -> str:
    return ", ".join(f"{name} ({addresses[0]})" for name, addresses in one.interfaces.items()) or "none"
