"""What several test files need: real MNIST where it is at hand, and files of its form made up on the spot."""

from pathlib import Path

import pytest
import torch

from common import data

ROOT = Path(__file__).parent.parent


@pytest.fixture
def mnist_dir():
    """The data folder with the real MNIST; a test that asks for it is skipped, visibly, where it is missing."""
    folder = ROOT / "data"
    if not all((folder / "MNIST" / "raw" / name).exists() for name, _, _ in data.FILES):
        pytest.skip("MNIST is not in data/")
    return folder


@pytest.fixture
def made_up_mnist(tmp_path, monkeypatch):
    """A data folder with four whole IDX files of random images and labels, whose checksums pass for MNIST's."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    write_idx_files(raw)
    monkeypatch.setattr(data, "MNIST_MD5", tuple(checksum(raw / name) for name, _, _ in data.FILES))
    return tmp_path / "data"


def write_idx_files(folder):
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for name, header, size in data.FILES:
        header = bytes.fromhex(header)
        largest = 10 if "labels" in name else 256
        content = torch.randint(largest, (size - len(header),), dtype=torch.uint8, generator=generator)
        (folder / name).write_bytes(header + content.numpy().tobytes())


def checksum(path):
    import hashlib

    return hashlib.md5(path.read_bytes()).hexdigest()
