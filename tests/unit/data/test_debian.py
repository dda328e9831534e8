"""Files of Debian packages: apt is real where it is there, its archive a folder; and what is said without it."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hvdtrain.data._download import DebianPackage, Download
from hvdtrain.errors import DataError

FILE = "usr/share/corpus/a.txt"
CONTROL = (
    "Package: corpus\nVersion: {}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: texts\n"
)
WANTED = DebianPackage("corpus", {FILE: hashlib.sha256(b"first").hexdigest()})


def tarred(name: str, content: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def package(path: Path, content: bytes = b"first", version: str = "1.0", file: str = FILE) -> Path:
    """Write a Debian package of one file as deb(5) describes it."""
    control = tarred("./control", CONTROL.format(version).encode())
    parts = [("debian-binary", b"2.0\n"), ("control.tar.xz", control), ("data.tar.xz", tarred(f"./{file}", content))]
    with path.open("wb") as written:
        written.write(b"!<arch>\n")
        for name, data in parts:
            written.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode())
            written.write(data + b"\n" * (len(data) % 2))
    return path


@pytest.fixture
def archive(tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is apt's only archive, and whose lists apt has not read yet."""
    if shutil.which("apt-get") is None:
        pytest.skip("apt-get is not installed")
    folder, apt = tmp_path / "archive", tmp_path / "apt"
    folder.mkdir()
    for below in ("etc", "state/lists/partial", "cache/archives/partial", "log"):
        (apt / below).mkdir(parents=True)
    publish(folder, package(folder / "corpus_1.0_all.deb"))
    (apt / "state" / "status").touch()
    (apt / "etc" / "sources.list").write_text(f"deb [trusted=yes] copy:{folder} ./\n")
    directories = {
        "Dir::Etc::sourcelist": "etc/sources.list",
        "Dir::Etc::sourceparts": "etc/none",
        "Dir::State": "state",
        "Dir::State::status": "state/status",
        "Dir::Cache": "cache",
        "Dir::Log": "log",
    }
    config = [f'{key} "{apt / below}";' for key, below in directories.items()]
    (apt / "apt.conf").write_text("\n".join([*config, 'APT::Sandbox::User "root";']))
    monkeypatch.setenv("APT_CONFIG", str(apt / "apt.conf"))
    return folder


def publish(folder: Path, deb: Path) -> None:
    """Write the index of an archive with one package."""
    content = deb.read_bytes()
    facts = f"Filename: ./{deb.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
    (folder / "Packages").write_text(CONTROL.format("1.0") + facts)


def test_apt_brings_it_once_even_where_it_has_no_lists(archive: Path, empty_cache: Path) -> None:
    lines: list[str] = []
    found = WANTED.obtain(lines.append)
    assert found == empty_cache / "downloads" / "corpus_1.0_all.deb"
    assert lines == ["downloading corpus with apt-get", "reading apt's package lists"]
    assert WANTED.read(found) == {"a.txt": b"first"}
    assert WANTED.obtain(pytest.fail) == found
    assert not (empty_cache / "downloads" / "partial" / "corpus").exists()


def test_apts_own_lists_are_used_where_it_has_them(archive: Path, empty_cache: Path) -> None:
    subprocess.run(["apt-get", "update"], check=True, capture_output=True)
    lines: list[str] = []
    WANTED.obtain(lines.append)
    assert lines == ["downloading corpus with apt-get"]


@pytest.mark.parametrize("left", [b"", b"rubbish" * 99, None], ids=["nothing", "other", "half"])
def test_what_an_interrupted_download_left_does_no_harm(left: bytes | None, archive: Path, empty_cache: Path) -> None:
    whole = (archive / "corpus_1.0_all.deb").read_bytes()
    left_there = empty_cache / "downloads" / "partial" / "corpus"
    left_there.mkdir(parents=True)
    (left_there / "corpus_1.0_all.deb").write_bytes(whole[: len(whole) // 2] if left is None else left)
    assert WANTED.obtain(lambda line: None).read_bytes() == whole


def test_apt_takes_up_a_broken_connection(
    archive: Path, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (archive / "corpus_1.0_all.deb").read_bytes()
    half = len(whole) // 2
    asked: list[str | None] = []

    class BreaksOnce(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.endswith(".deb"):
                super().do_GET()
                return
            asked.append(self.headers["Range"])
            begin, end = (0, half) if len(asked) == 1 else (half, len(whole))
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{end}")
            self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
            self.send_header("Content-Length", str(len(whole) - begin))
            self.end_headers()
            self.wfile.write(whole[begin:end])

        def log_message(self, *arguments: object) -> None:
            pass

    monkeypatch.delenv("http_proxy", raising=False)
    handler = partial(BreaksOnce, directory=str(archive))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sources = tmp_path / "apt" / "etc" / "sources.list"
        sources.write_text(f"deb [trusted=yes] http://127.0.0.1:{server.server_port} ./\n")
        found = WANTED.obtain(lambda line: None)
        server.shutdown()
    assert found.read_bytes() == whole
    assert asked == [None, f"bytes={half}-"]


def test_a_package_that_differs_from_the_index_is_refused_by_apt(archive: Path, empty_cache: Path) -> None:
    package(archive / "corpus_1.0_all.deb", b"f1rst")
    with pytest.raises(DataError, match=r"apt-get could not download corpus: .*check the network and apt's sources"):
        WANTED.obtain(lambda line: None)
    assert not list((empty_cache / "downloads").glob("*.deb"))


def test_apt_without_the_package_is_explained(archive: Path) -> None:
    (archive / "Packages").write_text("")
    with pytest.raises(
        DataError, match=r"Unable to locate package corpus; .* put corpus_\*\.deb of a Debian mirror into"
    ):
        WANTED.obtain(lambda line: None)


def test_a_machine_without_apt_is_told_what_to_do(
    tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        DataError, match=r"apt-get is not installed; .*put corpus_\*\.deb .* into .*downloads"
    ) as caught:
        WANTED.obtain(lambda line: None)
    assert "\n" not in str(caught.value)
    (empty_cache / "downloads").mkdir(exist_ok=True)
    placed = package(empty_cache / "downloads" / "corpus_2.7_arm64.deb", version="2.7")
    assert WANTED.obtain(pytest.fail) == placed


def test_it_is_the_members_that_are_checked_not_the_package(empty_cache: Path) -> None:
    folder = empty_cache / "downloads"
    folder.mkdir(parents=True)
    placed = package(folder / "corpus_1.0_all.deb", b"f1rst")
    with pytest.raises(DataError, match=rf"SHA-256 of its member {FILE} is [0-9a-f]+, not {WANTED.members[FILE]}"):
        WANTED.obtain(pytest.fail)
    package(placed, file="usr/share/corpus/b.txt")
    with pytest.raises(DataError, match="holds no member like"):
        WANTED.obtain(pytest.fail)
    package(placed)
    two = replace(WANTED, members={**WANTED.members, "usr/share/corpus/b.txt": "0" * 64})
    with pytest.raises(DataError, match=r"has no member usr/share/corpus/b\.txt"):
        two.obtain(pytest.fail)
    placed.write_bytes(placed.read_bytes()[:-30])
    with pytest.raises(DataError, match="is damaged"):
        WANTED.obtain(pytest.fail)


def test_several_archives_come_in_the_order_that_was_asked(empty_cache: Path) -> None:
    folder = empty_cache / "downloads"
    folder.mkdir(parents=True)
    names = ["corpus_1.0_all.deb", "ancients_1.0_all.deb"]
    for name in names:
        package(folder / name)
    seen: list[str] = []
    archives = (WANTED, replace(WANTED, package="ancients"))
    pair = Download("pair", "1", "two", "none", archives, lambda found, folder: seen.extend(p.name for p in found))
    pair.get(lambda line: None)
    assert seen == names
