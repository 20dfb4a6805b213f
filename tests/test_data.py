"""The sets of images: what they hold and how large they are; tasks with randomized labels."""

from common.data import (
    CLASSES,
    Dataset,
    fetch_dataset,
    load_dataset,
    randomize_labels,
    randomized_task,
    set_sizes,
)
from common.download import TITLES
from common.training import run_generators

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits


def test_mnist_is_read_whole_and_standardized(mnist_dir):
    mnist = load_dataset("mnist", mnist_dir)
    assert mnist.train_images.shape == (60_000, 1, 28, 28)
    assert mnist.test_images.shape == (10_000, 1, 28, 28)
    # The class counts that are published with the set.
    assert mnist.train_labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918,
                                                      6265, 5851, 5949]
    assert mnist.test_labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028,
                                                     974, 1009]
    assert abs(mnist.train_images.mean()) < 1e-3
    assert abs(mnist.train_images.std() - 1) < 1e-3
    # The mean 0.1307 and the deviation 0.3081 of pixels between 0 and 1 are widely published.
    assert mnist.train_images.min().item() == pytest.approx(-0.1307 / 0.3081, abs=1e-3)


def test_idx_files_arrive_pixel_by_pixel(small_sets):
    mnist = load_dataset("mnist", small_sets)
    raw = small_sets / "MNIST" / "raw"
    train_pixels = np.frombuffer((raw / "train-images-idx3-ubyte").read_bytes()[16:], np.uint8)
    test_pixels = np.frombuffer((raw / "t10k-images-idx3-ubyte").read_bytes()[16:], np.uint8)
    mean, deviation = (train_pixels / 255).mean(), (train_pixels / 255).std()
    for images, pixels in ((mnist.train_images, train_pixels), (mnist.test_images, test_pixels)):
        expected = (pixels.reshape(-1, 1, 28, 28) / 255 - mean) / deviation
        np.testing.assert_allclose(images.numpy(), expected, atol=1e-4)
    assert mnist.train_labels.tolist() == list((raw / "train-labels-idx1-ubyte").read_bytes()[8:])
    assert mnist.test_labels.tolist() == list((raw / "t10k-labels-idx1-ubyte").read_bytes()[8:])


def test_digits_are_split_once_and_evenly():
    digits = load_dataset("digits", "nowhere")
    every_count = torch.cat([digits.train_labels, digits.test_labels]).bincount()
    assert every_count.tolist() == np.bincount(load_digits().target).tolist()
    # Stratified to within one image.
    assert (digits.test_labels.bincount() - every_count / 5).abs().max() < 1
    assert torch.equal(digits.test_images, load_dataset("digits", "nowhere").test_images)
    assert digits.train_images.shape[1:] == (1, 28, 28)


@pytest.mark.parametrize(("name", "sizes"), [
    ("digits", (1_437, 360)), ("mnist", (200, 100)), ("fashion-mnist", (200, 100)),
])
def test_set_sizes_agree_with_what_is_loaded(small_sets, name, sizes):
    data = load_dataset(name, small_sets)
    assert (len(data.train_images), len(data.test_images)) == sizes
    assert (len(data.train_labels), len(data.test_labels)) == sizes
    assert set_sizes(name) == sizes


@pytest.mark.parametrize("name", TITLES)
def test_sets_in_the_form_of_mnist_have_their_published_sizes(name):
    assert set_sizes(name) == (60_000, 10_000)


def test_the_fetched_name_is_that_of_the_set_which_is_loaded(small_sets):
    fashion_labels = small_sets / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte"
    fashion_labels.write_bytes(fashion_labels.read_bytes()[:8] + bytes([7]) * 100)
    mnist_labels = small_sets / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    labels_on_disk = {"mnist": list(mnist_labels.read_bytes()[8:]), "fashion-mnist": [7] * 100}
    for asked, name in (("auto", "mnist"), ("mnist", "mnist"), ("fashion-mnist", "fashion-mnist")):
        assert fetch_dataset(asked, small_sets) == name
        data = load_dataset(asked, small_sets)
        assert data.name == name
        assert data.test_labels.tolist() == labels_on_disk[name]
    assert fetch_dataset("digits", small_sets) == load_dataset("digits", small_sets).name


# --- randomized tasks ---

FRACTIONS = (0, 0.25, 1, 0.5)  # of four runs


def made_up_data():
    generator = torch.Generator().manual_seed(0)
    return Dataset("made up", torch.randn(40, 1, 4, 4, generator=generator) + 3,
                   torch.arange(40) % CLASSES, torch.randn(10, 1, 4, 4, generator=generator),
                   torch.arange(10))


def test_a_randomized_task_uses_a_fraction_for_each_run():
    data = made_up_data()
    generators = run_generators(0, len(FRACTIONS), "labels")
    _, _, labels, masks = randomized_task(data, 24, FRACTIONS, generators)
    assert masks.sum(1).tolist() == [0, 6, 24, 12]
    true_labels = data.train_labels[:24].expand(4, -1)
    assert torch.equal(labels[~masks], true_labels[~masks])
    for run, generator in enumerate(run_generators(0, len(FRACTIONS), "labels")):
        expected, mask = randomize_labels(data.train_labels[:24], FRACTIONS[run], generator)
        assert torch.equal(labels[run], expected)
        assert torch.equal(masks[run], mask)


def test_images_of_a_randomized_task_lack_the_mean_of_the_images_that_are_trained_on():
    data = made_up_data()
    generators = run_generators(0, len(FRACTIONS), "labels")
    images, test_images, _, _ = randomized_task(data, 24, FRACTIONS, generators)
    mean_image = data.train_images.numpy()[:24].sum(0) / 24
    np.testing.assert_allclose(images.numpy(), data.train_images.numpy()[:24] - mean_image,
                               atol=1e-5)
    np.testing.assert_allclose(test_images.numpy(), data.test_images.numpy() - mean_image,
                               atol=1e-5)


def test_a_part_of_the_set_is_standardized_like_the_whole(small_sets):
    whole = load_dataset("mnist", small_sets)
    part = load_dataset("mnist", small_sets, train_size=30)
    assert torch.equal(part.train_images, whole.train_images[:30])
    assert torch.equal(part.train_labels, whole.train_labels[:30])
    assert torch.equal(part.test_images, whole.test_images)
    assert part.train_images.untyped_storage().nbytes() == 30 * 784 * 4  # nothing else is kept
