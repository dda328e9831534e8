"""Files of a Debian package, through apt, as apt is configured."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hvdtrain.data._fetching.members import read_members
from hvdtrain.data._fetching.place import RETRIES, Progress, alone, downloads, failed, follow, keep
from hvdtrain.errors import DataError


@dataclass(frozen=True)
class DebianPackage:
    """Files of a package of Debian, or of a system made from it, in whatever version that system has.

    Releases and architectures differ in the package around the files, so it is the files that are checked.

    Attributes:
        package: its name.
        members: SHA-256 of each file that is used, by its path from the root, without the first slash; no two
            have the last part in common.
    """

    package: str
    members: Mapping[str, str]

    def obtain(self, on_progress: Progress) -> Path:
        """Return the package, its members checked: from `downloads/` in the cache where it is there, else by apt.

        Raises:
            DataError: apt failed or is not there, or the package lacks a member or holds another.
        """
        archive = self._here()
        if archive is None:
            with alone(self.package) as partial:
                archive = self._here() or self._download(partial, on_progress)
        self.read(archive)
        return archive

    def read(self, archive: Path) -> dict[str, bytes]:
        """Return the content of the members by the last part of their names, each checked.

        Raises:
            DataError: the package is damaged, or a member is missing or another.
        """
        contents = read_members(archive, re.compile("|".join(map(re.escape, self.members))))
        for path, expected in self.members.items():
            name = PurePosixPath(path).name
            if name not in contents:
                raise DataError(f"{archive} has no member {path}: this version of {self.package} is another")
            found = hashlib.sha256(contents[name]).hexdigest()
            if found != expected:
                raise DataError(
                    f"{archive} is not the expected package: the SHA-256 of its member {path} is {found}, not "
                    f"{expected}; remove it, or put another version there, and run the command again"
                )
        return contents

    def _here(self) -> Path | None:
        return next(iter(sorted(downloads().glob(f"{self.package}_*.deb"))), None)

    def _download(self, partial: Path, on_progress: Progress) -> Path:
        """Let apt find the package and compare its hash with the signed index, whatever of it is here from before."""
        on_progress(f"downloading {self.package} with apt-get")
        code, lines = self._apt(["download", self.package], partial, on_progress)
        if code and any("Unable to locate" in line or "no installation candidate" in line for line in lines):
            code, lines = self._with_own_lists(partial, on_progress)
        found = sorted(partial.glob(f"{self.package}_*.deb"))
        if code or not found:
            advice = "check the network and apt's sources"
            raise failed("apt-get", self.package, _reason(lines), advice, f"{self.package}_*.deb of a Debian mirror")
        return keep(found[-1])

    def _with_own_lists(self, partial: Path, on_progress: Progress) -> tuple[int, list[str]]:
        """Try once more with package lists of our own: those of a container are empty, and renewing them is root's."""
        own = downloads() / "partial" / "apt"
        (own / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (own / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        options = ["-o", f"Dir::State::lists={own / 'lists'}", "-o", f"Dir::Cache={own / 'cache'}"]
        on_progress("reading apt's package lists")
        code, lines = self._apt([*options, "update"], partial, on_progress)
        return (code, lines) if code else self._apt([*options, "download", self.package], partial, on_progress)

    def _apt(self, arguments: list[str], partial: Path, on_progress: Progress) -> tuple[int, list[str]]:
        # As root, apt would become a user who may not write into our folder
        command = ["apt-get", "-o", "APT::Sandbox::User=root", "-o", f"Acquire::Retries={RETRIES}", *arguments]
        return follow(command, partial, f"{self.package}_*", on_progress, cwd=partial)


def _reason(lines: list[str]) -> str:
    errors = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
    return (errors or [line for line in lines if line] or ["it said nothing"])[0]
