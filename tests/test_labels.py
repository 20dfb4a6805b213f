"""Randomized labels: which, how many, how they are drawn, and that nothing else is touched."""

import numpy as np
import pytest
import torch
from scipy import stats

import hw1_3_random_labels as experiment
from common.data import CLASSES, Dataset, randomize_labels
from common.training import run_generators


def generator(run=0):
    return run_generators(0, [run], "labels")[0]


@pytest.mark.parametrize("share", [0, 0.2, 0.25, 0.5, 0.75, 1])
@pytest.mark.parametrize("examples", [1, 37, 1000])
def test_exactly_the_share_is_chosen_and_nothing_else_changes(share, examples):
    labels = torch.arange(examples) % CLASSES
    original = labels.clone()
    randomized, mask = randomize_labels(labels, share, generator())
    assert mask.sum() == round(share * examples)
    assert torch.equal(randomized[~mask], labels[~mask])
    assert torch.equal(labels, original)
    assert randomized.dtype == labels.dtype and randomized.min() >= 0 and randomized.max() < CLASSES


def test_drawn_labels_are_uniform_and_independent_of_the_true_ones():
    labels = torch.zeros(20_000, dtype=torch.int64)
    labels[10_000:] = 7
    randomized, _ = randomize_labels(labels, 1, generator())
    counts = torch.stack([randomized[:10_000].bincount(minlength=10), randomized[10_000:].bincount(minlength=10)])
    assert stats.chisquare(counts.sum(0)).pvalue > 0.001
    assert stats.chi2_contingency(counts).pvalue > 0.001


def test_every_example_is_as_likely_to_be_chosen():
    chosen = sum(randomize_labels(torch.zeros(50, dtype=torch.int64), 0.2, generator(run))[1].int() for run in range(500))
    # 500 draws of 10 out of 50; without replacement the statistic is a little smaller than chi-squared, never larger
    assert stats.chisquare(chosen).pvalue > 0.001


def test_labels_belong_to_the_run():
    labels = torch.zeros(100, dtype=torch.int64)
    first, again, other = (randomize_labels(labels, 0.5, generator(run)) for run in (0, 0, 1))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_shares_are_nested():
    labels = torch.zeros(100, dtype=torch.int64)
    small, small_mask = randomize_labels(labels, 0.25, generator())
    large, large_mask = randomize_labels(labels, 0.75, generator())
    assert large_mask[small_mask].all()
    assert torch.equal(small[small_mask], large[small_mask])


def test_first_fitted_is_the_first_epoch_that_reaches_the_bound():
    assert experiment.first_fitted(np.array([0.1, 0.9, 0.9989, 0.999, 0.5])) == 3
    assert experiment.first_fitted(np.array([0.1, 0.9, 0.9989, 0.99, 0.5])) is None


def test_measures_against_a_count_by_hand(monkeypatch):
    """Untrained networks answer at random: compare every measure with a loop over runs and examples."""
    torch.manual_seed(0)
    data = Dataset("made up", torch.randn(30, 1, 4, 4), torch.randint(10, (30,)), torch.randn(20, 1, 4, 4),
                   torch.randint(10, (20,)))
    settings = experiment_settings(epochs=1, runs=2, train_size=24)
    stacks = {}

    def remember(model, images, labels, *arguments, record, **options):
        stacks.update(model=model, images=images, labels=labels)
        record(0)

    monkeypatch.setattr(experiment, "train", remember)
    _, measures = experiment.train_stack(data, settings)
    center = data.train_images[:24].mean(0)
    torch.testing.assert_close(stacks["images"], data.train_images[:24] - center)
    with torch.no_grad():
        answers, test_answers = (stacks["model"]((images - center).expand(10, *images.shape)).argmax(2)
                                 for images in (data.train_images[:24], data.test_images))
    for i, share in enumerate(experiment.SHARES):
        for run in range(2):
            stack = 2 * i + run
            labels, mask = randomize_labels(data.train_labels[:24], share, generator(run))
            assert torch.equal(stacks["labels"][stack], labels)
            hits = [int(answers[stack, j] == labels[j]) for j in range(24)]
            true_hits = [int(answers[stack, j] == data.train_labels[j]) for j in range(24) if mask[j]]
            test_hits = [int(test_answers[stack, j] == data.test_labels[j]) for j in range(20)]
            expected = {"train_accuracy": np.mean(hits), "test_accuracy": np.mean(test_hits),
                        "true_accuracy": np.mean(true_hits) if true_hits else 0}
            for name, value in expected.items():
                assert measures[name][i, run, 0] == pytest.approx(value, abs=1e-6), name  # one of them in float32


def experiment_settings(**values):
    from types import SimpleNamespace

    return SimpleNamespace(**{"seed": 0, "device": torch.device("cpu"), "lr": 0.02, "batch_size": 8, **values})
