"""Tests of `metatui data omniglot`, and of decoding the real data set if it is available."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from metatui.cli.main import main
from metatui.learning.data.omniglot import cache as omniglot_cache
from metatui.learning.data.omniglot import download as omniglot_download
from metatui.learning.data.omniglot.cache import load, pack
from metatui.learning.data.omniglot.manifest import OMNIGLOT, characters
from metatui.learning.data.omniglot.source import OmniglotSource
from metatui.learning.data.omniglot.splits import DRAWINGS
from metatui.utils import paths
from tests.learning.data.baselines import nearest_neighbour_accuracy

SIBLING = Path(__file__).parents[3] / "shared" / "omniglot"
SOURCE = Path(os.environ.get("METATUI_OMNIGLOT_SOURCE") or SIBLING)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "data" / "omniglot.safetensors"
    monkeypatch.setattr(paths, "omniglot_cache", lambda: path)
    monkeypatch.setattr(paths, "downloads_dir", lambda: tmp_path / "downloads")
    return path


@pytest.fixture(scope="module")
def all_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create zip files with all file names of Omniglot, and return their folder.

    Instead of an image, each file contains the number of its character and the number of the person who drew it.
    """
    folder = tmp_path_factory.mktemp("published")
    for part in OMNIGLOT:
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as opened:
            for number, character in enumerate(characters()):
                if character.part == part:
                    for person in range(1, DRAWINGS + 1):
                        opened.writestr(f"{character.folder}/{number:04d}_{person:02d}.png", f"{number} {person}")
    return folder


@pytest.fixture
def quick_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the decoding of images, because decoding 32,460 images is slow.

    Each image then contains the two numbers in its file as the values of its first pixels.
    """

    def decoded(name: str, data: bytes) -> NDArray[np.uint8]:
        number, person = map(int, data.split())
        image = np.zeros((28, 28), np.uint8)
        image[0, :3] = number // 200, number % 200, person
        return image

    monkeypatch.setattr(omniglot_cache, "decode_drawing", decoded)


@pytest.mark.usefixtures("quick_decoding")
def test_packing_reusing_and_forcing(
    all_names: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"torn")
    assert main(["data", "omniglot", "--from", str(all_names), "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["file"] == str(cache)
    assert (report["alphabets"], report["characters"], report["drawings"]) == (50, 1623, 32460)
    assert report["packed_now"] is True
    pixels, sha256 = load()
    assert report["sha256"] == sha256
    assert "is damaged" in err
    assert "packed 32,460 of 32,460 drawings" in err
    assert len(err.splitlines()) == 11
    order = pixels[:, :, 0, :3].int()
    assert (order[:, :, 0] * 200 + order[:, :, 1]).tolist() == [[number] * 20 for number in range(1623)]
    assert order[:, :, 2].tolist() == [list(range(1, 21))] * 1623

    before = cache.stat().st_mtime_ns
    assert main(["data", "omniglot"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Already packed (use --force to pack again): ")
    assert str(cache) in out
    assert "1,623 characters of 50 alphabets, 32,460 drawings" in out
    assert err == ""
    assert cache.stat().st_mtime_ns == before

    def fetch(part: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{part}.zip").symlink_to(all_names / f"{part}.zip")

    packed: list[Path] = []
    monkeypatch.setattr(omniglot_download, "fetch", fetch)
    monkeypatch.setattr(omniglot_cache, "pack", lambda source, **_: packed.append(source))
    assert main(["data", "omniglot", "--force"]) == 0
    assert capsys.readouterr().out.startswith("Packed in ")
    (source,) = packed
    assert {each.name for each in (source / "omniglot-py").iterdir()} == {
        "images_background.zip",
        "images_evaluation.zip",
    }


def test_failed_download_exits_1_and_bad_data_2(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(part: str, folder: Path) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(omniglot_download, "fetch", fetch)
    for arguments, code, message in (
        (["data", "omniglot", "--json"], 1, "no route to host"),
        (["data", "omniglot", "--from", str(tmp_path / "nowhere"), "--json"], 2, "nowhere' must contain"),
    ):
        assert main(arguments) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert message in err
        assert len(err.splitlines()) == 1
        assert not cache.exists()


@pytest.mark.skipif(not SOURCE.is_dir(), reason="the real Omniglot is not available (METATUI_OMNIGLOT_SOURCE)")
def test_real_omniglot(tmp_path: Path) -> None:
    """Pack and check only the evaluation part of Omniglot, which contains 40 % of all drawings."""
    layout = {"images_evaluation": OMNIGLOT["images_evaluation"]}
    pack(SOURCE, to=tmp_path / "evaluation", layout=layout)
    pixels, _ = load(tmp_path / "evaluation", layout=layout)
    assert 0.07 < (pixels > 127).float().mean() < 0.10  # ink is bright and covers less area than paper
    everything = torch.cat([torch.zeros(1623 - len(pixels), *pixels.shape[1:], dtype=torch.uint8), pixels])
    source = OmniglotSource(everything, characters(), "lake", rotations=True, device="cpu")
    episodes = source.episodes("test", range(200), seed=0, ways=5, shots=1, queries=15)
    assert 0.42 < nearest_neighbour_accuracy(episodes).mean() < 0.47
