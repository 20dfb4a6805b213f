"""The files of MNIST and of sets in its format: checked on disk, downloaded where missing."""

import hashlib
import os
import socket
import tempfile
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from common.interrupts import UNFINISHED

# Names on the command line; torchvision's classes, which know where to download each set from;
# titles.
TORCHVISION_CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "kmnist": "KMNIST"}

# The four files of every set: name, header in hexadecimal (magic number and dimensions), size in
# bytes.
FILES = (
    ("train-images-idx3-ubyte", "00000803 0000ea60 0000001c 0000001c", 16 + 60_000 * 28 * 28),
    ("train-labels-idx1-ubyte", "00000801 0000ea60", 8 + 60_000),
    ("t10k-images-idx3-ubyte", "00000803 00002710 0000001c 0000001c", 16 + 10_000 * 28 * 28),
    ("t10k-labels-idx1-ubyte", "00000801 00002710", 8 + 10_000),
)
# Checksums of MNIST's uncompressed files. Of other sets torchvision checks the archives as they
# arrive.
MNIST_MD5 = ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624",
             "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637")
DOWNLOAD_TIMEOUT = 5  # seconds without an answer, per server


class DataError(Exception):
    """A set of images cannot be used; the message says why and what to do."""


class MissingData(DataError):
    """A set of images is not on disk and cannot be downloaded."""


def image_counts():
    """The numbers of training and of test images in a set, from the headers of its label files."""
    (_, train_header, _), (_, test_header, _) = FILES[1], FILES[3]
    return int(train_header.split()[1], 16), int(test_header.split()[1], 16)


def raw_folder(name, data_dir):
    """Where torchvision keeps the uncompressed files of a set."""
    return data_dir / TORCHVISION_CLASSES[name] / "raw"


def checked_files(name, data_dir):
    """The paths of a set's four files, whole and checked, after a download where any was not.

    Raises MissingData where a file is missing and cannot be downloaded, DataError where a damaged
    file cannot be replaced.
    """
    folder = raw_folder(name, data_dir)
    problems = find_problems(name, folder)
    if problems:
        _download(name, data_dir, problems)
    return [folder / file for file, _, _ in FILES]


def read_files(name, data_dir):
    """Training images, training labels, test images and test labels; pixels lie between 0 and 1."""
    # torchvision's readers of single files, because its data set classes would load a pickle where
    # an old release left one. Imported here because the import takes a second.
    from torchvision.datasets.mnist import read_image_file, read_label_file

    train_images, train_labels, test_images, test_labels = checked_files(name, data_dir)
    tensors = []
    for image_file, label_file in ((train_images, train_labels), (test_images, test_labels)):
        tensors.append(read_image_file(str(image_file)).unsqueeze(1).float().div_(255))
        tensors.append(read_label_file(str(label_file)))
    return tensors


def find_problems(name, folder):
    """What is wrong with the files of a set in folder: {path: reason}, empty if all are whole."""
    problems = {}
    for position, (file, header, size) in enumerate(FILES):
        md5 = MNIST_MD5[position] if name == "mnist" else None
        reason = _problem_of_file(folder / file, bytes.fromhex(header), size, md5)
        if reason:
            problems[folder / file] = reason
    return problems


def _problem_of_file(path, header, size, md5):
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable ({error.strerror})"
    if len(content) != size:
        return f"damaged ({len(content):,} bytes where {size:,} belong)"
    if not content.startswith(header):
        return "damaged (not the header of this file)"
    if "labels" in path.name and max(content[len(header):]) > 9:
        return "damaged (a label outside 0 … 9)"
    if md5 and hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        return "damaged (its checksum is wrong)"
    return None


def _download(name, data_dir, problems):
    """Replaces the files with problems. Raises MissingData or DataError where that fails."""
    data_dir_existed = data_dir.exists()
    try:
        _download_files(name, data_dir, problems)
    except (RuntimeError, OSError, HTTPException) as error:
        if not data_dir_existed:
            with suppress(OSError):
                data_dir.rmdir()
        reason = " ".join(str(error).split()) or type(error).__name__
        damaged = [f"{path} is {problem}" for path, problem in problems.items()
                   if problem != "missing"]
        if damaged:
            raise DataError(f"{damaged[0]}, and no new copy could be downloaded ({reason}); "
                            "delete or replace it") from None
        raise MissingData(f"{TITLES[name]} is not in {raw_folder(name, data_dir)} and could not be "
                          f"downloaded ({reason}); put its four *-ubyte files there, or use "
                          "--dataset digits") from None


def _download_files(name, data_dir, problems):
    """Downloads a set beside its place, checks it, and moves in the files that have problems."""
    import torchvision

    previous_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".download-") as temporary:
            UNFINISHED.add(temporary)
            getattr(torchvision.datasets, TORCHVISION_CLASSES[name])(temporary, download=True)
            downloaded = raw_folder(name, Path(temporary))
            problems_of_download = find_problems(name, downloaded)
            if problems_of_download:
                first_problem, *_ = problems_of_download.values()
                raise RuntimeError(f"the download is {first_problem}")
            raw_folder(name, data_dir).mkdir(parents=True, exist_ok=True)
            for path in problems:
                os.replace(downloaded / path.name, path)
        UNFINISHED.discard(temporary)
    finally:
        socket.setdefaulttimeout(previous_timeout)
