"""Randomized labels: which, how many, how they are drawn, and that nothing else is touched."""

from types import SimpleNamespace

import hw1_3_random_labels as experiment
from common.data import CLASSES, Dataset, randomize_labels, randomized_task
from common.training import run_generators

import numpy as np
import pytest
import torch
from scipy import stats


def generator(run=0):
    return run_generators(0, [run], "labels")[0]


def made_up_data(train_images=30, test_images=20):
    random = torch.Generator().manual_seed(0)

    def images(count):
        return torch.randn(count, 1, 4, 4, generator=random)

    def labels(count):
        return torch.randint(CLASSES, (count,), generator=random)

    return Dataset("made up", images(train_images), labels(train_images), images(test_images),
                   labels(test_images))


@pytest.mark.parametrize("fraction", [0, 0.2, 0.25, 0.5, 0.75, 1])
@pytest.mark.parametrize("examples", [1, 37, 1000])
def test_exactly_the_fraction_is_chosen_and_nothing_else_changes(fraction, examples):
    labels = torch.arange(examples) % CLASSES
    original = labels.clone()
    randomized, mask = randomize_labels(labels, fraction, generator())
    assert mask.sum() == round(fraction * examples)
    assert torch.equal(randomized[~mask], labels[~mask])
    assert torch.equal(labels, original)
    assert randomized.dtype == labels.dtype
    assert randomized.min() >= 0 and randomized.max() < CLASSES


def test_drawn_labels_are_uniform_and_independent_of_the_true_ones():
    labels = torch.zeros(20_000, dtype=torch.int64)
    labels[10_000:] = 7
    randomized, _ = randomize_labels(labels, 1, generator())
    counts = torch.stack([half.bincount(minlength=CLASSES) for half in randomized.split(10_000)])
    assert stats.chisquare(counts.sum(0)).pvalue > 0.001
    assert stats.chi2_contingency(counts).pvalue > 0.001


def test_every_example_is_as_likely_to_be_chosen():
    labels = torch.zeros(50, dtype=torch.int64)
    times_chosen = sum(randomize_labels(labels, 0.2, generator(run))[1].int() for run in range(500))
    # 500 draws of 10 out of 50; without replacement the statistic is a little smaller than
    # chi-squared, never larger
    assert stats.chisquare(times_chosen).pvalue > 0.001


def test_labels_belong_to_the_run():
    labels = torch.zeros(100, dtype=torch.int64)
    first, again, other = (randomize_labels(labels, 0.5, generator(run)) for run in (0, 0, 1))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_what_a_fraction_randomizes_a_larger_one_randomizes_in_the_same_way():
    labels = torch.zeros(100, dtype=torch.int64)
    small, small_mask = randomize_labels(labels, 0.25, generator())
    large, large_mask = randomize_labels(labels, 0.75, generator())
    assert large_mask[small_mask].all()
    assert torch.equal(small[small_mask], large[small_mask])


def test_each_run_of_a_task_has_its_own_fraction_and_all_lose_the_mean_training_image():
    data = made_up_data()
    fractions, runs = (0, 0.5, 0.5), (0, 0, 1)
    images, test_images, labels, masks = randomized_task(
        data, 24, fractions, run_generators(0, runs, "labels"))
    mean_image = sum(data.train_images[:24]) / 24  # of the images that are trained on alone
    torch.testing.assert_close(images, data.train_images[:24] - mean_image)
    torch.testing.assert_close(test_images, data.test_images - mean_image)
    assert masks.sum(1).tolist() == [0, 12, 12]
    for position, (fraction, run) in enumerate(zip(fractions, runs)):
        expected = randomize_labels(data.train_labels[:24], fraction, generator(run))
        assert torch.equal(labels[position], expected[0])
        assert torch.equal(masks[position], expected[1])


def test_measures_of_a_training_against_a_count_by_hand(monkeypatch):
    """Untrained networks answer at random: every measure is counted over runs and examples."""
    data = made_up_data()
    settings = SimpleNamespace(seed=0, device=torch.device("cpu"), lr=0.02, batch_size=8, epochs=1,
                               runs=2, train_size=24)
    seen = {}

    def record_only(model, images, labels, *arguments, record, **options):
        seen.update(model=model, images=images, labels=labels)
        record(0)

    monkeypatch.setattr(experiment, "train", record_only)
    _, history = experiment.train_model(data, settings)
    mean_image = data.train_images[:24].mean(0)
    with torch.no_grad():
        answers = seen["model"](seen["images"].unsqueeze(0)).argmax(2)
        test_answers = seen["model"]((data.test_images - mean_image).unsqueeze(0)).argmax(2)
    for position, fraction in enumerate(experiment.FRACTIONS):
        for run in range(2):
            network = 2 * position + run
            labels, mask = randomize_labels(data.train_labels[:24], fraction, generator(run))
            assert torch.equal(seen["labels"][network], labels)
            hits = [int(answers[network, j] == labels[j]) for j in range(24)]
            true_hits = [int(answers[network, j] == data.train_labels[j])
                         for j in range(24) if mask[j]]
            test_hits = [int(test_answers[network, j] == data.test_labels[j]) for j in range(20)]
            expected = {
                "train_accuracy": np.mean(hits),
                "test_accuracy": np.mean(test_hits),
                "true_accuracy": np.mean(true_hits) if true_hits else 0,
            }
            for name, value in expected.items():
                # one of them is in float32
                assert history[name][position, run, 0] == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize("accuracies, goes_on", [([0.999, 1.0], False), ([0.998, 1.0], True)])
def test_training_ends_when_every_network_fits(monkeypatch, accuracies, goes_on):
    settings = SimpleNamespace(seed=0, device=torch.device("cpu"), lr=0.02, batch_size=8, epochs=1,
                               runs=1, train_size=24)
    monkeypatch.setattr(experiment, "FRACTIONS", (0, 1))
    monkeypatch.setattr(experiment, "measure_training", lambda *arguments: {
        "train_accuracy": torch.tensor(accuracies)})
    ended = []
    monkeypatch.setattr(experiment, "train", lambda *arguments, record, **options:
                        ended.append(record(0)))
    experiment.train_model(made_up_data(), settings)
    assert ended == [not goes_on]
