"""Tests of downloading Omniglot with torchvision, from a local server."""

from __future__ import annotations

import hashlib
import http.client
import threading
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import pytest

from metatui.learning.data.downloads import torchvision_datasets
from metatui.learning.data.omniglot import download as omniglot_download
from metatui.learning.data.omniglot.cache import load, pack
from metatui.learning.data.omniglot.download import download
from metatui.utils.errors import MetatuiError
from tests.omniglot_files import SMALL, make_files, write_archives

PARTS = ("images_background", "images_evaluation")


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Suppress the log messages of the server."""


class HangsUp(Handler):
    """A request handler that closes the connection after sending half of a file."""

    def copyfile(self, source: IO[bytes], outputfile: IO[bytes]) -> None:  # type: ignore[override]
        data = source.read()
        outputfile.write(data[: len(data) // 2])


@contextmanager
def serving(folder: Path, handler: type[Handler]) -> Iterator[str]:
    """Serve the files in `folder` over HTTP, and yield the address of the server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make torchvision download valid zip files from a local server, and yield the folder that contains them."""
    folder = write_archives(make_files(), tmp_path / "server")
    omniglot = torchvision_datasets().Omniglot
    md5 = {part: hashlib.md5((folder / f"{part}.zip").read_bytes()).hexdigest() for part in PARTS}
    monkeypatch.setattr(omniglot, "zips_md5", md5)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(folder, Handler) as address:
        monkeypatch.setattr(omniglot, "download_url_prefix", address)
        yield folder


def test_torchvision_imports_with_any_torch_build() -> None:
    omniglot = torchvision_datasets().Omniglot
    assert set(omniglot.zips_md5) == set(PARTS)
    assert torchvision_datasets().Omniglot is omniglot


def test_download_can_be_packed(server: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = download(tmp_path / "here")
    assert sorted(path.name for path in (folder / "omniglot-py").iterdir()) == [f"{part}.zip" for part in PARTS]
    pack(folder, to=tmp_path / "packed", layout=SMALL)
    assert load(tmp_path / "packed", layout=SMALL)[0].shape[0] == 5
    assert capsys.readouterr().out == ""


def test_complete_zips_are_not_downloaded_again(server: Path, tmp_path: Path) -> None:
    download(tmp_path / "here")
    for part in PARTS:
        (server / f"{part}.zip").unlink()
    download(tmp_path / "here")


def test_incomplete_zip_is_downloaded_again(server: Path, tmp_path: Path) -> None:
    good = server / "images_background.zip"
    torn = tmp_path / "here" / "omniglot-py" / good.name
    torn.parent.mkdir(parents=True)
    torn.write_bytes(good.read_bytes()[:100])
    download(tmp_path / "here")
    assert torn.read_bytes() == good.read_bytes()


def test_wrong_checksum_is_refused(server: Path, tmp_path: Path) -> None:
    (server / "images_evaluation.zip").write_bytes(b"something else")
    with pytest.raises(
        MetatuiError, match=r"Omniglot could not be downloaded to .*corrupted.*--from FOLDER`"
    ) as caught:
        download(tmp_path / "here")
    assert caught.value.exit_code == 1


def test_dropped_connection_is_noticed(server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(server, HangsUp) as address:
        monkeypatch.setattr(torchvision_datasets().Omniglot, "download_url_prefix", address)
        with pytest.raises(MetatuiError, match="Omniglot could not be downloaded"):
            download(tmp_path / "here")


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("Name or service not known"),
        TimeoutError("timed out"),
        ConnectionResetError(104, "Connection reset by peer"),
        http.client.IncompleteRead(b"half"),
        urllib.error.HTTPError("http://x", 503, "Service\nUnavailable", http.client.HTTPMessage(), None),
        OSError(28, "No space left on device"),
        RuntimeError("File not found or corrupted."),
        ImportError("No module named 'torchvision'"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_download_errors_suggest_a_remedy(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(part: str, folder: Path) -> None:
        raise error

    monkeypatch.setattr(omniglot_download, "fetch", fails)
    with pytest.raises(MetatuiError) as caught:
        download(tmp_path / "here")
    sentence = str(caught.value)
    assert sentence.startswith(f"Omniglot could not be downloaded to '{tmp_path / 'here'}' (")
    assert "images_background.zip" in sentence
    assert "\n" not in sentence
