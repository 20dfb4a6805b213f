"""The data sets: what they hold, when they are refused, and what `auto` does. No test reaches a network."""

import gzip
import shutil
import socket
import threading
import time

import numpy as np
import pytest
import torch
import torchvision
from conftest import SMALL_FILES, checksum, write_idx_files
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from common import data
from common.data import DataError, MissingData, load_dataset

TRAIN_LABELS = "train-labels-idx1-ubyte"


@pytest.fixture
def no_network(monkeypatch):
    """Every mirror is a port of this machine where nobody listens, so each connection is refused."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        for name in data.TORCHVISION_CLASSES.values():
            monkeypatch.setattr(getattr(torchvision.datasets, name), "mirrors", [address])
        yield


def test_mnist_is_read_whole_and_standardized(mnist_dir):
    mnist = load_dataset("mnist", mnist_dir)
    assert mnist.train_images.shape == (60_000, 1, 28, 28) and mnist.test_images.shape == (10_000, 1, 28, 28)
    # the class counts that are published with the set
    assert mnist.train_labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.test_labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert abs(mnist.train_images.mean()) < 1e-3 and abs(mnist.train_images.std() - 1) < 1e-3
    # the mean 0.1307 and deviation 0.3081 of the unit-scaled pixels are common knowledge
    assert mnist.train_images.min().item() == pytest.approx(-0.1307 / 0.3081, abs=1e-3)


def test_idx_files_arrive_pixel_by_pixel(made_up_mnist):
    mnist = load_dataset("mnist", made_up_mnist)
    raw = made_up_mnist / "MNIST" / "raw"
    pixels = np.frombuffer((raw / "t10k-images-idx3-ubyte").read_bytes()[16:], np.uint8).reshape(-1, 28, 28) / 255
    train = np.frombuffer((raw / "train-images-idx3-ubyte").read_bytes()[16:], np.uint8) / 255
    expected = (pixels[[0, 77, 9_999]] - train.mean()) / train.std()
    np.testing.assert_allclose(mnist.test_images[[0, 77, 9_999], 0].numpy(), expected, atol=1e-5)
    assert mnist.train_labels.tolist() == list((raw / TRAIN_LABELS).read_bytes()[8:])


def test_digits_are_split_once_and_evenly():
    digits = load_dataset("digits", "nowhere")
    assert (len(digits.train_labels), len(digits.test_labels)) == (1_437, 360)
    every = torch.cat([digits.train_labels, digits.test_labels]).bincount()
    assert every.tolist() == np.bincount(load_digits().target).tolist()
    assert (digits.test_labels.bincount() - every / 5).abs().max() < 1  # stratified to within one image
    assert torch.equal(digits.test_images, load_dataset("digits", "nowhere").test_images)
    assert digits.train_images.shape[1:] == (1, 28, 28)


def test_auto_takes_mnist_where_it_is_on_disk(made_up_mnist, no_network):
    assert load_dataset("auto", made_up_mnist).name == "mnist"


def test_auto_falls_back_on_digits_and_says_so(tmp_path, no_network, capsys):
    assert load_dataset("auto", tmp_path / "data").name == "digits"
    message = capsys.readouterr().err
    assert "digits instead of MNIST" in message and str(tmp_path / "data" / "MNIST" / "raw") in message
    assert not (tmp_path / "data").exists()


def test_a_named_set_never_falls_back(tmp_path, no_network):
    for name in ("mnist", "fashion-mnist", "kmnist"):
        with pytest.raises(MissingData, match=r"put its four \*-ubyte files there, or use --dataset digits"):
            load_dataset(name, tmp_path / "data")


def test_a_server_that_never_answers_counts_as_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "DOWNLOAD_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirrors = [f"http://127.0.0.1:{silent.getsockname()[1]}/"] * 2
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", mirrors)
        start = time.monotonic()
        assert load_dataset("auto", tmp_path).name == "digits"
    assert time.monotonic() - start < 10
    assert socket.getdefaulttimeout() is None  # the limit holds for the download alone


def test_a_server_that_talks_nonsense_counts_as_no_network(tmp_path, monkeypatch):
    def answer():
        connection, _ = server.accept()
        with connection:
            connection.recv(1_000)
            connection.sendall(b"nonsense\n\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.getsockname()[1]}/"])
        threading.Thread(target=answer).start()
        with pytest.raises(MissingData, match="nonsense"):
            load_dataset("mnist", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def damage(path, how):
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[:-1])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "garbage":
        path.write_bytes(b"x" * len(content))
    elif how == "label":
        path.write_bytes(content[:-1] + b"\x0a")
    elif how == "flipped bit":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif how == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("dataset", ["auto", "mnist"])
@pytest.mark.parametrize(("how", "reason"), [
    ("truncated", "60,007 bytes where 60,008 belong"), ("empty", "0 bytes"), ("garbage", "not the header"),
    ("label", "a label outside 0 … 9"), ("flipped bit", "checksum"), ("folder", "unreadable"),
])
def test_damaged_files_are_named_and_kept(made_up_mnist, no_network, how, reason, dataset):
    path = made_up_mnist / "MNIST" / "raw" / TRAIN_LABELS
    damage(path, how)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(DataError, match=reason) as error:
        load_dataset(dataset, made_up_mnist)
    assert str(path) in str(error.value) and not isinstance(error.value, MissingData)
    assert before is None or path.read_bytes() == before
    assert [file.name for file in made_up_mnist.iterdir()] == ["MNIST"]  # no leftovers of the attempt


def test_a_download_replaces_damaged_and_missing_files(made_up_mnist, monkeypatch):
    raw = made_up_mnist / "MNIST" / "raw"
    damage(raw / TRAIN_LABELS, "truncated")
    (raw / "t10k-labels-idx1-ubyte").unlink()

    class Served:
        def __init__(self, root, download):
            write_idx_files(data.Path(root) / "MNIST" / "raw")

    monkeypatch.setattr(torchvision.datasets, "MNIST", Served)
    assert load_dataset("mnist", made_up_mnist).name == "mnist"
    assert [checksum(raw / name) for name, _, _ in data.FILES] == list(data.MNIST_MD5)


def test_a_damaged_download_is_not_moved_in(tmp_path, monkeypatch):
    class Served:
        def __init__(self, root, download):
            write_idx_files(data.Path(root) / "MNIST" / "raw")  # whole files, but not MNIST's

    monkeypatch.setattr(torchvision.datasets, "MNIST", Served)
    with pytest.raises(MissingData, match="the download is damaged"):
        load_dataset("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_with_a_wrong_checksum_is_refused(tmp_path, server, monkeypatch):
    # Fashion-MNIST, since nothing but the checksum of its archives guards it
    served, address, asked = server
    archives = [f"{name}.gz" for name, _, _ in SMALL_FILES]
    monkeypatch.setattr(data, "FILES", SMALL_FILES)
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", [address])
    resources = [(archive, checksum(served / archive)) for archive in archives]
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "resources", resources)
    assert len(load_dataset("fashion-mnist", tmp_path / "right").train_images) == 200
    whole = (served / "t10k-labels-idx1-ubyte").read_bytes()
    (served / archives[3]).write_bytes(gzip.compress(whole[:-1] + bytes([9 - whole[-1]])))
    asked.clear()
    with pytest.raises(MissingData, match=r"could not be downloaded \("):  # older torchvisions do not say which file
        load_dataset("fashion-mnist", tmp_path / "wrong")
    assert f"/{archives[3]}" in asked and not (tmp_path / "wrong").exists()


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_no_pickle_is_read(small_sets, no_network, bomb, name):
    pickled, crater = bomb
    folder = small_sets / data.TORCHVISION_CLASSES[name]
    (folder / "processed").mkdir()  # where releases long past kept the set as pickles, and would prefer them
    for file in ("training.pt", "test.pt"):
        (folder / "processed" / file).write_bytes(pickled)
    assert len(load_dataset(name, small_sets).train_images) == 200
    for file, _, size in SMALL_FILES:
        for content in (pickled, pickled.ljust(size)):
            whole = (folder / "raw" / file).read_bytes()
            (folder / "raw" / file).write_bytes(content)
            with pytest.raises(DataError, match="damaged"):
                load_dataset(name, small_sets)
            (folder / "raw" / file).write_bytes(whole)
    shutil.rmtree(folder / "raw")
    with pytest.raises(MissingData):
        load_dataset(name, small_sets)
    assert not crater.exists()


@pytest.mark.parametrize("pixel", [0, 7, 255])
def test_images_without_a_picture_are_damaged(small_sets, pixel):
    path = small_sets / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:16] + bytes([pixel]) * (200 * 28 * 28))
    with pytest.raises(DataError, match="all of one grey"):
        load_dataset("fashion-mnist", small_sets)


# Where a file is changed, the bytes that come there, and how many go: None for as many, so that the size is kept.
CHANGES = st.tuples(st.integers(0, 20) | st.integers(0, 200_000), st.binary(max_size=20) | st.just(bytes(200_000)),
                    st.none() | st.integers(0, 20) | st.just(200_000))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@given(file=st.sampled_from(SMALL_FILES), change=CHANGES)
def test_any_bytes_are_refused_or_a_whole_set(small_sets, no_network, name, file, change):
    path = small_sets / data.TORCHVISION_CLASSES[name] / "raw" / file[0]
    whole, (start, added, removed) = path.read_bytes(), change
    changed = whole[:start] + added + whole[start + (len(added) if removed is None else removed) :]
    path.write_bytes(changed)
    try:
        _, train_images, train_labels, test_images, test_labels = load_dataset(name, small_sets)
    except DataError as error:
        assert str(path) in str(error) and path.read_bytes() == changed != whole
    else:
        assert name != "mnist" or changed == whole
        assert train_images.shape == (200, 1, 28, 28) and test_images.shape == (100, 1, 28, 28)
        assert train_images.isfinite().all() and test_images.isfinite().all()
        for labels, count in ((train_labels, 200), (test_labels, 100)):
            assert labels.shape == (count,) and labels.dtype == torch.int64 and set(labels.tolist()) <= set(range(10))
    finally:
        path.write_bytes(whole)
