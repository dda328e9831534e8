"""Several hosts on one machine: namespaces with addresses, names, sshd and a shaped link each. Linux, as root.

    with Lab(hosts=2, rate="200mbit") as lab:
        lab.run("a", ["hvdtrain", "launch", "-np", "2", "--gloo", "-H", lab.slots(1), "gpt-shakespeare"])

A host is an sshd that is the first process of its own network, host name, process, mount and IPC namespaces, so that
it sees its own interfaces, name, /etc/hosts and processes, but the machine's files. The switch between them is a bridge
in a namespace too. None of it has a name or a file outside of the lab's temporary directory: the kernel removes
it with its last process, and those end with the lab, or with the process that made it, however that ends.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from namespace_tools import PATH, bits, call, command_lines, in_space, kill, shape

__all__ = ["Lab", "bits", "lab_problem"]

TOOLS = ("ip", "tc", "unshare", "nsenter", "setpriv", "taskset", "mount", "ssh", "ssh-keygen", "sshd")
SUBNET = "192.168.77"
_UNSHARE = ("unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child")
# A process ends with the one that started it, also where that is killed.
_MORTAL = ("setpriv", "--pdeathsig", "KILL")

_PROBE = """
ip link add one type veth peer name two && ip link add switch type bridge &&
tc qdisc add dev one root tbf rate 1mbit burst 32kb latency 10ms && mount -t tmpfs none /run
"""
_HOST = """
cd "$1"
mount -t tmpfs none /run
mkdir -m 755 /run/sshd
mount --bind hosts."$2" /etc/hosts
mount --bind ssh_config /etc/ssh/ssh_config
if [ -d "$4" ]; then mount --bind empty "$4"; fi
echo "$2" > /proc/sys/kernel/hostname
ip link set lo up
exec "$3" -D -f sshd_config -E sshd."$2"
"""
_SSHD = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
PidFile none
MaxStartups 100
MaxSessions 100
"""
_SSH = """\
IdentityFile {folder}/key
IdentitiesOnly yes
UserKnownHostsFile /dev/null
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking no
LogLevel ERROR
"""


@functools.cache
def lab_problem() -> str | None:
    """Return why labs can't be made on this machine, in one line, or None where they can."""
    if os.name != "posix" or os.uname().sysname != "Linux":
        return "network namespaces need Linux"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: iproute2, openssh-server, openssh-client)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not Path("/etc/ssh/ssh_config").is_file():
        return "there is no /etc/ssh/ssh_config to put the lab's own in place of"
    tried = call([*_UNSHARE, "sh", "-c", _PROBE], check=False)
    if tried.returncode:
        last = (tried.stderr.strip() or f"exit code {tried.returncode}").splitlines()[-1]
        return f"namespaces with a shaped link are not allowed here: {last}"
    return None


class Lab:
    """A few hosts called a, b, c ... with one link each to a common switch.

    Args:
        hosts: how many, up to 26.
        rate: what a link carries in each direction, as `tc` writes it ("200mbit", "1gbit"); None: as much as it can.
        loopback_names: the hosts (True: all) whose own name is 127.0.1.1 to themselves, as Debian installs it.
        interfaces: the name of a host's link where it is not eth0.
        cores: for each host the cores that it may use, as `taskset` writes them ("0", "0-3"); None: all.

    Attributes:
        names: the hosts' names.
        addresses: their IPv4 addresses by name.
        folder: the lab's temporary directory; its key for ssh is `folder / "key"`, which ssh takes by itself.
    """

    def __init__(
        self,
        hosts: int = 2,
        *,
        rate: str | None = None,
        loopback_names: bool | Sequence[str] = False,
        interfaces: Mapping[str, str] | None = None,
        cores: Sequence[str] | None = None,
    ) -> None:
        self.names = tuple("abcdefghijklmnopqrstuvwxyz"[:hosts])
        self.addresses = {name: f"{SUBNET}.{number}" for number, name in enumerate(self.names, start=1)}
        self.folder = Path()
        self._rate = rate
        self._loopback = self.names if loopback_names is True else tuple(loopback_names or ())
        self._interfaces = dict.fromkeys(self.names, "eth0") | dict(interfaces or {})
        self._cores = dict(zip(self.names, cores, strict=True)) if cores else {}
        self._holders: list[subprocess.Popen[str]] = []
        self._first: dict[str, int] = {}
        self._switch = 0

    def __enter__(self) -> Lab:
        if problem := lab_problem():
            raise RuntimeError(f"no lab can be made: {problem}")
        self.folder = Path(tempfile.mkdtemp(prefix="hvdtrain-lab-"))
        try:
            self._write_files()
            self._switch = self._hold(["unshare", "--net", "sleep", "infinity"]).pid
            self._wait(lambda: Path(f"/proc/{self._switch}/ns/net").readlink() != Path("/proc/self/ns/net").readlink())
            self._at(self._switch, "ip link add switch type bridge && ip link set switch up")
            for name in self.names:
                self._start_host(name)
            for name in self.names:
                log = self.folder / f"sshd.{name}"
                self._wait(lambda log=log: log.exists() and "Server listening" in log.read_text())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process of every host; with them the namespaces go. May be called again."""
        for pid in self._first.values():
            kill(pid)  # The kernel ends the rest of the host, and then the holder that waits for it.
        for holder in self._holders[len(self._holders) - len(self._first) :]:
            holder.wait()
        for holder in self._holders:
            holder.kill()
            holder.wait()
        self._first.clear()
        self._holders.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def slots(self, each: int = 1) -> str:
        """Return all hosts with as many slots each, as -H takes them."""
        return ",".join(f"{name}:{each}" for name in self.names)

    def start(self, host: str, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[str]:
        """Start a command on a host; it ends with the returned process.

        A signal sent to that process ends it; `send` is for one that the command shall get. `env` adds to this
        process's environment; the other options are Popen's.
        """
        environment = os.environ | {
            "HOME": str(self.folder),  # horovodrun keeps there for an hour which interfaces it found
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        }
        options["env"] = environment | dict(options.get("env") or {})
        options.setdefault("stdin", subprocess.DEVNULL)
        # The network namespace last but one: with a namespace of processes nsenter starts a child in it.
        enter = ["nsenter", "-t", str(self._first[host]), "--net", "--uts", "--ipc", "--mount", "--pid"]
        enter += [f"--wd={options.pop('cwd', None) or Path.cwd()}"]
        line = [*enter, *self._bound(host), *_MORTAL, *map(str, command)]
        return subprocess.Popen(line, text=True, **options)

    def run(
        self, host: str, command: Sequence[str | Path], *, timeout: float = 300, check: bool = False, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host to its end and return what it wrote.

        Raises:
            subprocess.TimeoutExpired: it took longer; it was ended.
            subprocess.CalledProcessError: it failed, and `check` is set.
        """
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        with self.start(host, command, **options) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        finished = subprocess.CompletedProcess(process.args, process.returncode, out, err)
        if check:
            finished.check_returncode()
        return finished

    def send(self, process: subprocess.Popen[str], number: signal.Signals) -> None:
        """Send a signal to a command that `start` started."""
        for child in psutil.Process(process.pid).children():
            child.send_signal(number)

    def processes(self, host: str) -> list[psutil.Process]:
        """Return what runs on a host, without its sshd."""
        return in_space(Path(f"/proc/{self._first[host]}/ns/pid").readlink())

    def left(self, patience: float = 10.0) -> list[list[str]]:
        """Return the command lines of what runs on any host, after some seconds in which it may end."""
        deadline = time.monotonic() + patience
        while found := [process for name in self.names for process in self.processes(name)]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        return command_lines(found)

    def shape(self, rate: str | None) -> None:
        """Let all links carry as much as that from now on, in each direction; None: as much as they can."""
        for name in self.names:
            shape(self._first[name], self._interfaces[name], rate)
            shape(self._switch, f"to-{name}", rate)

    def _write_files(self) -> None:
        for name in ("key", "host_key"):
            call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)])
        (self.folder / "empty").mkdir()
        (self.folder / "sshd_config").write_text(_SSHD.format(folder=self.folder))
        (self.folder / "ssh_config").write_text(_SSH.format(folder=self.folder))
        for name in self.names:
            lines = ["127.0.0.1 localhost"]
            for other, address in self.addresses.items():
                lines.append(f"{'127.0.1.1' if other == name and name in self._loopback else address} {other}")
            (self.folder / f"hosts.{name}").write_text("\n".join(lines) + "\n")

    def _start_host(self, name: str) -> None:
        sshd = shutil.which("sshd", path=PATH)
        keys = os.path.expanduser("~root/.ssh")  # noqa: PTH111  as ssh finds it, without regard to $HOME
        script = ["sh", "-ec", _HOST, "sh", str(self.folder), name, str(sshd), keys]
        holder = psutil.Process(self._hold([*_UNSHARE, *self._bound(name), *script]).pid)
        self._wait(lambda: bool(holder.children()))
        first = self._first[name] = holder.children()[0].pid
        link, address = self._interfaces[name], self.addresses[name]
        self._at(self._switch, f"ip link add to-{name} type veth peer name {link} netns {first}")
        self._at(self._switch, f"ip link set to-{name} master switch up")
        self._at(first, f"ip address add {address}/24 dev {link} && ip link set {link} up")
        if self._rate is not None:
            shape(first, link, self._rate)
            shape(self._switch, f"to-{name}", self._rate)

    def _bound(self, name: str) -> list[str]:
        return ["taskset", "-c", self._cores[name]] if name in self._cores else []

    def _hold(self, command: Sequence[str]) -> subprocess.Popen[str]:
        with (self.folder / "problems").open("a") as problems:
            process = subprocess.Popen(
                [*_MORTAL, *command],
                env=os.environ | {"PATH": PATH},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=problems,
                start_new_session=True,  # A Ctrl-C at the terminal is for the command in the foreground.
                text=True,
            )
        self._holders.append(process)
        return process

    def _wait(self, ready: Any) -> None:
        """Wait until something is as it should be, or one of the lab's processes has ended."""
        deadline = time.monotonic() + 20
        while not ready():
            if time.monotonic() > deadline or any(holder.poll() is not None for holder in self._holders):
                logs = [*self.folder.glob("problems"), *self.folder.glob("sshd.*")]
                raise RuntimeError("the lab did not start:\n" + "".join(log.read_text() for log in logs))
            time.sleep(0.01)

    def _at(self, pid: int, script: str) -> None:
        call(["nsenter", "-t", str(pid), "--net", "sh", "-ec", script])
