"""What the networks learn from: one-dimensional functions, sets of images, randomized labels."""

import sys
from pathlib import Path
from typing import NamedTuple

from common.download import (
    TITLES,
    DataError,
    MissingData,
    checked_files,
    image_counts,
    read_files,
)

import torch
from torch.nn import functional

DATASETS = ("auto", *TITLES, "digits")
CLASSES = 10  # of every set of images
DIGITS_SIZES = (1_437, 360)  # training and test images of scikit-learn's digits, split 4 : 1


# --- one-dimensional functions ---


def grid(points, device=None, dtype=torch.float32):
    """Midpoints of equal intervals of [0, 1], (points, 1): none falls on a jump of square_wave."""
    return ((torch.arange(points, device=device, dtype=dtype) + 0.5) / points).unsqueeze(1)


def sinc(x):
    """sin(5πx) / (5πx), and 1 at x = 0."""
    return torch.sinc(5 * x)


def square_wave(x):
    """sgn(sin 5πx): five plateaus of height +1 and −1 on [0, 1]."""
    return torch.sign(torch.sin(5 * torch.pi * x))


def tent_map(x, compositions):
    """The tent map composed n times with itself: 2ⁿ straight pieces, up to 1 and down to 0 in turn.

    It is Telgarsky's example of what depth can represent (2016, arXiv:1602.04485).
    """
    for _ in range(compositions):
        x = 1 - (2 * x - 1).abs()
    return x


# --- sets of images ---


class Dataset(NamedTuple):
    """A set of images with its labels, whole and on one device.

    Images are (N, 1, 28, 28), float32, standardized by the training images' mean and standard
    deviation. Labels are (N,), int64, from 0 to 9.
    """

    name: str
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


def first_images(data, count):
    """The first training images of a Dataset and their labels, at most count."""
    return data.train_images[:count], data.train_labels[:count]


def images_after_training(data, train_size, count):
    """Images and labels of a Dataset behind the first train_size training images, at most count.

    There is none where the training images are all that the Dataset has.
    """
    unseen = slice(train_size, train_size + count)
    return data.train_images[unseen], data.train_labels[unseen]


def hold_out(data, count):
    """The same Dataset with its last training images, so many, in place of the test images.

    For choices of settings, which must not see the test images.
    """
    return data._replace(train_images=data.train_images[:-count],
                         train_labels=data.train_labels[:-count],
                         test_images=data.train_images[-count:],
                         test_labels=data.train_labels[-count:])


def dataset_title(name):
    """What figures and tables call a set of images."""
    return "digits (8×8)" if name == "digits" else TITLES[name]


def set_sizes(name):
    """The numbers of training and of test images in a set."""
    return DIGITS_SIZES if name == "digits" else image_counts()


def fetch_dataset(name, data_dir):
    """Makes sure that a set of DATASETS is on disk; returns its name, with "auto" resolved.

    "auto" is MNIST where it is in data_dir or can be downloaded, and otherwise scikit-learn's
    digits, with a note on stderr that says so. Raises DataError for a named set that is neither on
    disk nor to be downloaded, and for damaged files that a download cannot replace.
    """
    if name == "digits":  # scikit-learn brings them
        return name
    if name != "auto":
        checked_files(name, Path(data_dir))
        return name
    try:
        checked_files("mnist", Path(data_dir))
        return "mnist"
    except MissingData as error:
        print(f"note: {error}\nnote: continuing on scikit-learn's digits instead of MNIST",
              file=sys.stderr)
        return "digits"


def load_dataset(name, data_dir, device="cpu", train_size=None):
    """The set of images called name as a Dataset on the device.

    With train_size it has the first training images only, at most so many: the others take no
    memory. All are standardized by the whole training set in any case. Raises what fetch_dataset
    does.
    """
    name = fetch_dataset(name, data_dir)
    tensors = _load_digits() if name == "digits" else read_files(name, Path(data_dir))
    train_images, train_labels, test_images, test_labels = (tensor.to(device) for tensor in tensors)
    if train_images.min() == train_images.max():  # they cannot be standardized
        raise DataError(f"the training images of {dataset_title(name)} in {data_dir} are damaged "
                        "(all black, or all of one grey); delete or replace them")
    mean, deviation = train_images.mean(), train_images.std()
    for images in (train_images, test_images):
        images.sub_(mean).div_(deviation)  # in place: a second copy would double the memory
    if train_size is not None:
        # Copies: a part of a larger tensor would keep the whole of it in memory.
        train_images = train_images[:train_size].clone()
        train_labels = train_labels[:train_size].clone()
    return Dataset(name, train_images, train_labels, test_images, test_labels)


def _load_digits():
    """scikit-learn's 1,797 digits, 8×8 enlarged to 28×28; a fifth of each class is held out."""
    # Imported here because the import takes a second that other data sets need not wait for.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    small_images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    images = functional.interpolate(small_images, size=28, mode="bilinear")
    labels = torch.tensor(digits.target, dtype=torch.int64)
    train, test = train_test_split(range(len(images)), test_size=0.2, stratify=digits.target,
                                   random_state=0)
    return images[train], labels[train], images[test], labels[test]


# --- randomized labels ---


def randomize_labels(labels, fraction, generator):
    """Draws a fraction of the labels (N,) anew; returns the new labels and the mask (N,) of these.

    The round(fraction · N) examples are chosen without replacement. A new label is uniform over the
    classes, the true one included (Zhang et al. 2017, arXiv:1611.03530): about a tenth of the
    chosen examples keep theirs by chance. Equal generators choose nested sets: what a fraction
    randomizes, a larger fraction randomizes too, and in the same way.
    """
    new_labels = torch.randint(CLASSES, labels.shape, generator=generator)
    chosen = torch.randperm(len(labels), generator=generator)[: round(fraction * len(labels))]
    mask = torch.zeros(labels.shape, dtype=torch.bool)
    mask[chosen] = True
    new_labels, mask = new_labels.to(labels.device), mask.to(labels.device)
    return torch.where(mask, new_labels, labels), mask


def randomized_task(data, train_size, fractions, generators):
    """The first training images of a Dataset, a fraction of their labels randomized, run by run.

    fractions (R,) and generators (R,) hold one entry for each run. Returns training images (N, ...)
    and test images, both without the mean training image, the labels (R, N) and the masks (R, N) of
    the randomized ones. In trials random labels were fitted sooner, and narrow networks did better,
    without the mean image (LeCun et al. 1998, Efficient BackProp).
    """
    images = data.train_images[:train_size]
    true_labels = data.train_labels[:train_size]
    labels, masks = [], []
    for fraction, generator in zip(fractions, generators):
        run_labels, run_mask = randomize_labels(true_labels, fraction, generator)
        labels.append(run_labels)
        masks.append(run_mask)
    mean_image = images.mean(0)
    test_images = data.test_images - mean_image
    return images - mean_image, test_images, torch.stack(labels), torch.stack(masks)
