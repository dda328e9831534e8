from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hvdtrain.launch.host_checks import Verdict, examine
from hvdtrain.launch.host_facts import HostFacts

VERSIONS = {"hvdtrain": "0.1.0", "horovod": "0.28.1", "torch": "2.13.0"}


def host(name: str, number: int, **changes: Any) -> HostFacts:
    """A host on which all is well, at 10.0.0.NUMBER."""
    fine = HostFacts(
        name=name,
        own_name=f"{name}.local",
        address=f"10.0.0.{number}",
        interfaces={"lo": ("127.0.0.1/8",), "eth0": (f"10.0.0.{number}/24",)},
        cores=4,
        versions=VERSIONS,
        mpi=True,
    )
    return replace(fine, **changes)


def with_links(name: str, number: int, **links: str) -> HostFacts:
    interfaces = {"lo": ("127.0.0.1/8",)} | {link: (address,) for link, address in links.items()}
    own = next(iter(links.values())).partition("/")[0]
    return host(name, number, interfaces=interfaces, address=own)


A, B = host("a", 1), host("b", 2)


@pytest.mark.parametrize("gloo", [True, False])
@pytest.mark.parametrize("named", [(), ("eth0",)])
def test_hosts_on_which_all_is_well_have_neither_problems_nor_warnings(gloo: bool, named: tuple[str, ...]) -> None:
    assert examine([A, B], gloo=gloo, named=named) == Verdict()


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("127.0.1.1", "b: its own name, b.local, resolves there to 127.0.1.1"),
        (None, "b: its own name, b.local, has no address there"),
        ("10.0.0.99", "b: its own name, b.local, resolves there to 10.0.0.99, which is no address of it"),
    ],
)
def test_an_own_name_that_others_can_not_use_stops_gloo_and_is_doubtful_with_mpi(
    address: str | None, problem: str
) -> None:
    wrong = host("b", 2, address=address)
    gloo, mpi = examine([A, wrong], gloo=True), examine([A, wrong], gloo=False)
    (told,) = gloo.problems
    assert told.startswith(problem)
    assert told.endswith("put the line '10.0.0.2 b.local' first in its /etc/hosts")
    assert gloo.warnings == mpi.problems == []
    assert mpi.warnings == [f"{told}; with MPI it does not matter"]


def test_a_single_host_may_be_called_what_it_likes() -> None:
    alone = host("b", 2, address="127.0.1.1")
    assert examine([alone], gloo=True, launcher=A) == Verdict()


@pytest.mark.parametrize("package", ["hvdtrain", "horovod", "torch"])
def test_another_version_is_told_with_both(package: str) -> None:
    other = host("b", 2, versions=VERSIONS | {package: "9.9"})
    (told,) = examine([A, other, host("c", 3)], gloo=True).problems
    assert told == f"b: has {package} 9.9, a has {VERSIONS[package]}; install the same on all hosts"


def test_a_missing_package_is_told_by_itself() -> None:
    lacking = host("b", 2, versions=VERSIONS | {"horovod": None, "torch": None})
    (told,) = examine([A, lacking], gloo=True).problems
    assert told == "b: horovod and torch not installed there; run scripts/install"


def test_a_horovod_without_mpi_can_not_be_started_by_mpi() -> None:
    without = host("b", 2, mpi=False)
    assert examine([A, without], gloo=False).problems == ["b: its Horovod has no MPI; use --gloo"]
    assert examine([A, without], gloo=True) == Verdict()


@pytest.mark.parametrize("gloo", [True, False])
def test_a_named_interface_must_be_on_every_host(gloo: bool) -> None:
    other = with_links("b", 2, ens5="10.0.0.2/24")
    (told,) = examine([A, other], gloo=gloo, named=("eth0",)).problems
    assert told == "b: has no interface eth0 (--network-interfaces eth0); it has lo (127.0.0.1/8), ens5 (10.0.0.2/24)"
    assert len(examine([A, other], gloo=gloo, named=("eth0", "ens5")).problems) == 2


@pytest.mark.parametrize("address", ["127.0.0.1/8", "169.254.3.4/16"])
def test_a_named_interface_that_leads_nowhere_is_told(address: str) -> None:
    links = {"eth0": "10.0.0.2/24", "x": address}
    problems = examine([with_links("a", 1, eth0="10.0.0.1/24", x="10.1.0.1/24"), with_links("b", 2, **links)],
                       gloo=True, named=("x",)).problems  # fmt: skip
    assert problems == [
        f"b: x is {address} there, which other hosts can't reach (--network-interfaces x); "
        f"it has lo (127.0.0.1/8), eth0 (10.0.0.2/24), x ({address})"
    ]


def bridged(name: str, number: int) -> HostFacts:
    """A host with a bridge for containers, which has the same address on each."""
    return with_links(name, number, eth0=f"10.0.0.{number}/24", docker0="172.17.0.1/16")


def test_a_bridge_of_containers_connects_no_hosts() -> None:
    (told,) = examine([bridged("a", 1), bridged("b", 2)], gloo=True, named=("docker0",)).problems
    assert told.startswith("b: docker0 has the address 172.17.0.1 that it has on a too")
    assert examine([bridged("a", 1), bridged("b", 2)], gloo=True) == Verdict()


def test_named_interfaces_in_two_networks_may_be_routed() -> None:
    far = with_links("b", 2, eth0="10.9.0.2/24")
    verdict = examine([A, far], gloo=True, named=("eth0",))
    assert verdict.problems == []
    assert verdict.warnings == [
        "eth0 is in different networks (a 10.0.0.1/24, b 10.9.0.2/24): it works only where these are routed"
    ]


def test_without_a_common_name_the_hosts_are_told_what_each_has() -> None:
    other = with_links("b", 2, ens5="10.0.0.2/24")
    (told,) = examine([A, other], gloo=True).problems
    assert told.startswith(
        "a and the others share no network interface: a has lo (127.0.0.1/8), eth0 (10.0.0.1/24); b has"
    )
    assert "ens5 (10.0.0.2/24)" in told
    assert "must have one name on all hosts" in told


def test_several_common_names_or_networks_ask_for_the_flag() -> None:
    two = [with_links(name, n, eth0=f"10.0.0.{n}/24", ib0=f"10.8.0.{n}/24") for n, name in enumerate("ab", 1)]
    verdict = examine(two, gloo=True)
    assert verdict.problems == []
    assert "share eth0 and ib0, and Horovod takes any of them" in verdict.warnings[0]
    routed = examine([A, with_links("b", 2, eth0="10.9.0.2/24")], gloo=True)
    assert routed.problems == []
    assert "in different networks" in routed.warnings[0]
    assert routed.warnings[0].endswith("--network-interfaces eth0")


def test_the_launcher_must_have_the_interface_too_where_gloo_meets_on_it() -> None:
    launcher = with_links("login", 9, ens5="10.0.0.9/24")
    (told,) = examine([A, B], gloo=True, named=("eth0",), launcher=launcher).problems
    assert told.startswith("login: has no interface eth0")
    assert len(examine([A], gloo=True, launcher=launcher).problems) == 1
    assert examine([A, B], gloo=False, named=("eth0",), launcher=launcher) == Verdict()
    odd = replace(launcher, address="127.0.1.1", interfaces=host("login", 9).interfaces)
    assert examine([A, B], gloo=True, launcher=odd) == Verdict()
