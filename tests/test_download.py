"""The files of the data sets: read, refused and downloaded. No test reaches a network."""

import gzip
import shutil
import socket
import threading
from pathlib import Path

from common import download
from common.data import fetch_dataset, load_dataset
from common.download import TITLES, TORCHVISION_CLASSES, DataError, MissingData

import pytest
import torch
import torchvision
from conftest import SMALL_FILES, checksum, write_idx_files
from hypothesis import given
from hypothesis import strategies as st

TRAIN_LABELS, TEST_LABELS = "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def no_network(monkeypatch):
    """Every mirror is a port of this machine where nobody listens: each connection is refused."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        mirrors = [address_of(unused)]
        for name in TORCHVISION_CLASSES.values():
            monkeypatch.setattr(getattr(torchvision.datasets, name), "mirrors", mirrors)
        yield


def address_of(listening):
    return f"http://127.0.0.1:{listening.getsockname()[1]}/"


def serve_small_files(monkeypatch, name):
    """Puts a stand-in for torchvision's class in place, which brings whole small files."""
    class_name = TORCHVISION_CLASSES[name]

    class Served:
        def __init__(self, root, download):
            write_idx_files(Path(root) / class_name / "raw", SMALL_FILES)

    monkeypatch.setattr(torchvision.datasets, class_name, Served)


# --- without a network ---


def test_auto_falls_back_on_digits_and_says_so(tmp_path, no_network, capsys):
    folder = tmp_path / "data"
    assert fetch_dataset("auto", folder) == "digits"
    message = capsys.readouterr().err
    assert "digits instead of MNIST" in message
    assert str(folder / "MNIST" / "raw") in message
    data = load_dataset("auto", folder)
    assert data.name == "digits"
    assert len(data.train_images) == 1_437
    assert not folder.exists()


@pytest.mark.parametrize("name", TITLES)
@pytest.mark.parametrize("fetch_or_load", [fetch_dataset, load_dataset])
def test_a_named_set_never_falls_back(tmp_path, no_network, name, fetch_or_load):
    with pytest.raises(MissingData, match=r"put its four \*-ubyte files there, or use --dataset"):
        fetch_or_load(name, tmp_path / "data")


def test_a_server_that_never_answers_counts_as_no_network(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "DOWNLOAD_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [address_of(silent)] * 2)
        assert fetch_dataset("auto", tmp_path) == "digits"
    assert "timed out" in capsys.readouterr().err


@pytest.mark.parametrize("reachable", [True, False])
def test_the_time_limit_holds_for_the_download_alone(tmp_path, monkeypatch, reachable):
    limits = []

    class Server:
        def __init__(self, root, download):
            limits.append(socket.getdefaulttimeout())
            if not reachable:
                raise OSError("nobody there")
            write_idx_files(Path(root) / "FashionMNIST" / "raw", SMALL_FILES)

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", Server)
    monkeypatch.setattr(download, "FILES", SMALL_FILES)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(77)
    try:
        if reachable:
            fetch_dataset("fashion-mnist", tmp_path)
        else:
            with pytest.raises(MissingData, match="nobody there"):
                fetch_dataset("fashion-mnist", tmp_path)
        assert limits == [download.DOWNLOAD_TIMEOUT]
        assert socket.getdefaulttimeout() == 77
    finally:
        socket.setdefaulttimeout(before)


def test_a_server_that_talks_nonsense_counts_as_no_network(tmp_path, monkeypatch):
    def answer():
        connection, _ = server.accept()
        with connection:
            connection.recv(1_000)
            connection.sendall(b"nonsense\n\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [address_of(server)])
        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(MissingData, match="nonsense"):
            load_dataset("mnist", tmp_path / "data")
    assert not (tmp_path / "data").exists()


# --- damaged files ---


def damage(path, how):
    content = path.read_bytes()
    if how == "folder":
        path.unlink()
        path.mkdir()
        return
    damaged = {"truncated": content[:-1], "empty": b"", "garbage": b"x" * len(content),
               "label": content[:-1] + b"\x0a",
               "flipped bit": content[:-1] + bytes([content[-1] ^ 1])}
    path.write_bytes(damaged[how])


@pytest.mark.parametrize("dataset", ["auto", "mnist"])
@pytest.mark.parametrize(("how", "reason"), [
    ("truncated", "207 bytes where 208 belong"), ("empty", "0 bytes"),
    ("garbage", "not the header"), ("label", "a label outside 0 … 9"), ("flipped bit", "checksum"),
    ("folder", "unreadable"),
])
def test_damaged_files_are_named_and_kept(small_sets, no_network, how, reason, dataset):
    path = small_sets / "MNIST" / "raw" / TRAIN_LABELS
    damage(path, how)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(DataError, match=reason) as error:
        load_dataset(dataset, small_sets)
    assert str(path) in str(error.value)
    assert not isinstance(error.value, MissingData)
    if before is None:
        assert path.is_dir()
    else:
        assert path.read_bytes() == before
    # Nothing is left of the attempt to download.
    assert sorted(folder.name for folder in small_sets.iterdir()) == ["FashionMNIST", "MNIST"]


@pytest.mark.parametrize("pixel", [0, 7, 255])
def test_images_without_a_picture_are_damaged(small_sets, pixel):
    path = small_sets / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:16] + bytes([pixel]) * (200 * 28 * 28))
    with pytest.raises(DataError, match="all of one grey"):
        load_dataset("fashion-mnist", small_sets)


# Where a file is changed, the bytes that come there, and how many go: None for as many as come, so
# that the size is kept.
CHANGES = st.tuples(st.integers(0, 20) | st.integers(0, 200_000),
                    st.binary(max_size=20) | st.just(bytes(200_000)),
                    st.none() | st.integers(0, 20) | st.just(200_000))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@given(file=st.sampled_from(SMALL_FILES), change=CHANGES)
def test_any_bytes_are_refused_or_a_whole_set(small_sets, no_network, name, file, change):
    path = small_sets / TORCHVISION_CLASSES[name] / "raw" / file[0]
    whole = path.read_bytes()
    start, added, removed = change
    end = start + (len(added) if removed is None else removed)
    changed = whole[:start] + added + whole[end:]
    path.write_bytes(changed)
    try:
        data = load_dataset(name, small_sets)
    except DataError as error:
        assert str(path) in str(error)
        assert path.read_bytes() == changed != whole
    else:
        assert name != "mnist" or changed == whole  # Fashion-MNIST has no checksums on disk
        assert data.train_images.shape == (200, 1, 28, 28)
        assert data.test_images.shape == (100, 1, 28, 28)
        assert data.train_images.isfinite().all()
        assert data.test_images.isfinite().all()
        for labels, count in ((data.train_labels, 200), (data.test_labels, 100)):
            assert labels.shape == (count,)
            assert labels.dtype == torch.int64
            assert set(labels.tolist()) <= set(range(10))
    finally:
        path.write_bytes(whole)


def test_pickles_that_old_torchvisions_left_are_not_read(small_sets, no_network):
    folder = small_sets / "FashionMNIST"
    (folder / "processed").mkdir()
    for file in ("training.pt", "test.pt"):
        pickled = (torch.ones(5, 28, 28, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64))
        torch.save(pickled, folder / "processed" / file)
    # torchvision's own class prefers them.
    assert len(torchvision.datasets.FashionMNIST(small_sets)) == 5
    data = load_dataset("fashion-mnist", small_sets)
    assert data.test_labels.tolist() == list((folder / "raw" / TEST_LABELS).read_bytes()[8:])
    assert len(data.train_images) == 200
    shutil.rmtree(folder / "raw")
    with pytest.raises(MissingData):
        load_dataset("fashion-mnist", small_sets)


# --- downloads ---


def test_a_download_replaces_damaged_and_missing_files(small_sets, monkeypatch):
    raw = small_sets / "MNIST" / "raw"
    damage(raw / TRAIN_LABELS, "truncated")
    (raw / TEST_LABELS).unlink()
    serve_small_files(monkeypatch, "mnist")
    assert load_dataset("mnist", small_sets).name == "mnist"
    assert [checksum(raw / name) for name, _, _ in SMALL_FILES] == list(download.MNIST_MD5)


def test_a_download_leaves_whole_files_as_they_are(small_sets, monkeypatch):
    raw = small_sets / "FashionMNIST" / "raw"
    own_labels = (raw / TEST_LABELS).read_bytes()[:8] + bytes(100)
    (raw / TEST_LABELS).write_bytes(own_labels)
    (raw / TRAIN_LABELS).unlink()
    serve_small_files(monkeypatch, "fashion-mnist")
    assert fetch_dataset("fashion-mnist", small_sets) == "fashion-mnist"
    assert (raw / TRAIN_LABELS).exists()
    assert (raw / TEST_LABELS).read_bytes() == own_labels


def test_a_damaged_download_is_not_moved_in(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "FILES", SMALL_FILES)
    serve_small_files(monkeypatch, "mnist")  # whole files, but not MNIST's
    with pytest.raises(MissingData, match="the download is damaged"):
        load_dataset("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_with_a_wrong_checksum_is_refused(tmp_path, server, monkeypatch):
    # Fashion-MNIST, since nothing but the checksum of its archives guards it.
    served, address, asked = server
    archives = [f"{name}.gz" for name, _, _ in SMALL_FILES]
    resources = [(archive, checksum(served / archive)) for archive in archives]
    monkeypatch.setattr(download, "FILES", SMALL_FILES)
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", [address])
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "resources", resources)
    assert len(load_dataset("fashion-mnist", tmp_path / "right").train_images) == 200
    whole = (served / TEST_LABELS).read_bytes()
    other = whole[:-1] + bytes([9 - whole[-1]])
    (served / archives[3]).write_bytes(gzip.compress(other))
    asked.clear()
    # Older torchvisions do not say which file it was.
    with pytest.raises(MissingData, match=r"could not be downloaded \("):
        load_dataset("fashion-mnist", tmp_path / "wrong")
    assert f"/{archives[3]}" in asked
    assert not (tmp_path / "wrong").exists()
