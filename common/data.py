"""The image data sets: whole, checked, and as tensors on the device."""

import hashlib
import os
import socket
import sys
import tempfile
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

# Names on the command line and the torchvision classes that know where to download each from.
TORCHVISION_CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "kmnist": "KMNIST", "digits": "digits (8×8)"}
DATASETS = ("auto", *TITLES)
CLASSES = 10  # of every set

# The four files of each set, in the order of `Dataset`: name, header in hexadecimal (magic number and dimensions), size.
FILES = (
    ("train-images-idx3-ubyte", "00000803 0000ea60 0000001c 0000001c", 16 + 60_000 * 28 * 28),
    ("train-labels-idx1-ubyte", "00000801 0000ea60", 8 + 60_000),
    ("t10k-images-idx3-ubyte", "00000803 00002710 0000001c 0000001c", 16 + 10_000 * 28 * 28),
    ("t10k-labels-idx1-ubyte", "00000801 00002710", 8 + 10_000),
)
# Checksums of the original uncompressed files. For the other sets torchvision checks the archives as they arrive.
MNIST_MD5 = ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624",
             "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637")
DOWNLOAD_TIMEOUT = 5  # seconds without an answer, per server


class DataError(Exception):
    """A data set cannot be used; the message says why and what to do."""


class MissingData(DataError):
    """A data set is not on disk and cannot be downloaded."""


class Dataset(NamedTuple):
    """Images (N, 1, 28, 28), float32, standardized by the training set's mean and deviation; labels (N,), int64, 0 … 9."""

    name: str
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


def load_dataset(name, data_dir, device="cpu"):
    """One of DATASETS, whole, on the device.

    "auto" is MNIST where it is in data_dir or can be downloaded, and otherwise scikit-learn's digits, with a line on
    stderr that says so. Raises DataError for a named set that is neither on disk nor to be downloaded, and for damaged
    files that a download cannot replace.
    """
    if name == "auto":
        try:
            return load_dataset("mnist", data_dir, device)
        except MissingData as error:
            print(f"note: {error}\nnote: continuing on scikit-learn's digits instead of MNIST", file=sys.stderr)
            name = "digits"
    tensors = _digits() if name == "digits" else _idx_files(name, Path(data_dir))
    train_images, train_labels, test_images, test_labels = (tensor.to(device) for tensor in tensors)
    if train_images.min() == train_images.max():  # they cannot be standardized
        raise DataError(f"the training images of {TITLES[name]} in {data_dir} are damaged (all black, or all of one grey); "
                        "delete or replace them")
    mean, deviation = train_images.mean(), train_images.std()
    for images in (train_images, test_images):
        images.sub_(mean).div_(deviation)  # in place: a second copy of the set would double the memory of a small script
    return Dataset(name, train_images, train_labels, test_images, test_labels)


def randomize_labels(labels, share, generator):
    """Labels (N,) of which round(share · N), chosen without replacement, are drawn anew, and the mask (N,) of these.

    A new label is uniform over the classes, the true one included (Zhang et al. 2017, arXiv:1611.03530): about a tenth
    of the chosen examples keep theirs by chance. Equal generators choose nested sets: all that a share randomizes, a
    larger one randomizes too, and in the same way.
    """
    drawn = torch.randint(CLASSES, labels.shape, generator=generator)
    mask = torch.zeros(labels.shape, dtype=torch.bool)
    mask[torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]] = True
    drawn, mask = drawn.to(labels.device), mask.to(labels.device)
    return torch.where(mask, drawn, labels), mask


def randomized_task(data, train_size, shares, generators):
    """The first images of a data set without their mean image, and labels of which each share is randomized, run by run.

    generators hold one for each share and run, share by share. Returns training images (N, ...), test images, and for
    each generator the labels and the mask of the randomized ones, (len(generators), N). In trials random labels were
    fitted sooner, and narrow networks better, without the mean image (LeCun et al. 1998, Efficient BackProp).
    """
    images, true_labels = data.train_images[:train_size], data.train_labels[:train_size]
    runs = len(generators) // len(shares)
    randomized = [randomize_labels(true_labels, share, generator)
                  for share, generator in zip([share for share in shares for _ in range(runs)], generators)]
    labels, masks = (torch.stack(tensors) for tensors in zip(*randomized))
    mean_image = images.mean(0)
    return images - mean_image, data.test_images - mean_image, labels, masks


def _digits():
    """The 1,797 digits of scikit-learn, 8 × 8 enlarged to 28 × 28, a fifth of each class held out, always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = functional.interpolate(torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16,
                                    size=28, mode="bilinear")
    train, test = train_test_split(range(len(images)), test_size=0.2, stratify=digits.target, random_state=0)
    labels = torch.tensor(digits.target, dtype=torch.int64)
    return images[train], labels[train], images[test], labels[test]


def _idx_files(name, data_dir):
    folder = data_dir / TORCHVISION_CLASSES[name] / "raw"
    paths = [folder / file for file, _, _ in FILES]
    problems = _problems(name, paths)
    if problems:
        _download(name, data_dir, folder, problems)
    # Behind a checked header there are only bytes. torchvision's classes would prefer a pickle, if one lay in the folder of
    # a release long past, and importing them takes longer than all else that happens before training.
    contents = [torch.from_numpy(np.fromfile(path, np.uint8, offset=len(bytes.fromhex(header))))
                for path, (_, header, _) in zip(paths, FILES)]
    images = [content.view(-1, 1, 28, 28).float().div_(255) for content in contents[::2]]
    labels = [content.long() for content in contents[1::2]]
    return images[0], labels[0], images[1], labels[1]


def _problems(name, paths):
    """What is wrong with each file, as (path, reason); an empty list where all are as they should be."""
    checksums = MNIST_MD5 if name == "mnist" else [None] * len(FILES)
    problems = []
    for path, (_, header, size), md5 in zip(paths, FILES, checksums):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            problems.append((path, "missing"))
            continue
        except OSError as error:
            problems.append((path, f"unreadable ({error.strerror})"))
            continue
        header = bytes.fromhex(header)
        if len(content) != size:
            problems.append((path, f"damaged ({len(content):,} bytes where {size:,} belong)"))
        elif not content.startswith(header):
            problems.append((path, "damaged (not the header of this file)"))
        elif "labels" in path.name and max(content[len(header):]) > 9:
            problems.append((path, "damaged (a label outside 0 … 9)"))
        elif md5 and hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            problems.append((path, "damaged (its checksum is wrong)"))
    return problems


def _download(name, data_dir, folder, problems):
    """Fetches the set beside its place, checks it, and moves it in: nothing unfinished ever lies where it is read."""
    import torchvision

    damaged = [f"{path} is {reason}" for path, reason in problems if reason != "missing"]
    existed = os.path.exists(data_dir)
    previous_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".download-") as temporary:
            getattr(torchvision.datasets, TORCHVISION_CLASSES[name])(temporary, download=True)
            fetched = [Path(temporary) / folder.relative_to(data_dir) / path.name for path, _ in problems]
            unfit = _problems(name, [fetched[0].parent / file for file, _, _ in FILES])
            if unfit:
                raise RuntimeError(f"the download is {unfit[0][1]}")
            folder.mkdir(parents=True, exist_ok=True)
            for path in fetched:
                os.replace(path, folder / path.name)
    except (RuntimeError, OSError, HTTPException) as error:
        if not existed:
            with suppress(OSError):
                data_dir.rmdir()
        reason = " ".join(str(error).split()) or type(error).__name__
        if damaged:
            raise DataError(f"{damaged[0]}, and no new copy could be downloaded ({reason}); delete or replace it") from None
        raise MissingData(f"{TITLES[name]} is not in {folder} and could not be downloaded ({reason}); put its four "
                          "*-ubyte files there, or use --dataset digits") from None
    finally:
        socket.setdefaulttimeout(previous_timeout)
