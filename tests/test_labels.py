"""Randomized labels: which, how many, how they are drawn, and that nothing else is touched."""

from types import SimpleNamespace

import hw1_3_random_labels as experiment
from common.data import CLASSES, Dataset, randomize_labels, randomized_task
from common.models import mlp
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
    """Untrained networks answer at random: every measure is counted over their examples."""
    data = made_up_data()
    settings = small_settings(runs=2)
    seen = {}

    def record_only(model, images, labels, *arguments, probe, order_generators, **options):
        seen.update(labels=labels, order=torch.randperm(24, generator=order_generators[0]))
        probe(0)

    monkeypatch.setattr(experiment, "train", record_only)
    mean_image = data.train_images[:24].mean(0)
    for run in range(2):
        # Run k starts from the same weights whatever the fraction, and sees the same data order.
        model = mlp([16, 128, 512, 10], run_generators(0, [run], "initialization"))
        with torch.no_grad():
            answers = model((data.train_images[:24] - mean_image).unsqueeze(0))[0].argmax(1)
            test_answers = model((data.test_images - mean_image).unsqueeze(0))[0].argmax(1)
        order = torch.randperm(24, generator=run_generators(0, [run], "order")[0])
        for fraction in experiment.FRACTIONS:
            history = experiment.train_model(data, fraction, run, 24, settings)
            labels, _ = randomize_labels(data.train_labels[:24], fraction, generator(run))
            assert torch.equal(seen["labels"][0], labels) and len(seen["labels"]) == 1
            assert torch.equal(seen["order"], order)
            hits = [int(answers[j] == labels[j]) for j in range(24)]
            true_hits = [int(answers[j] == data.train_labels[j]) for j in range(24)
                         if labels[j] != data.train_labels[j]]
            test_hits = [int(test_answers[j] == data.test_labels[j]) for j in range(20)]
            expected = {
                "epoch": 0,
                "train_accuracy": np.mean(hits),
                "test_accuracy": np.mean(test_hits),
                "true_accuracy": np.mean(true_hits) if true_hits else 0,
            }
            for name, value in expected.items():
                # one of them is in float32
                assert history[name].tolist() == pytest.approx([value], abs=1e-6), name


@pytest.mark.parametrize("accuracy, ends", [(0.999, True), (0.998, False)])
def test_training_ends_when_the_network_fits(monkeypatch, accuracy, ends):
    monkeypatch.setattr(experiment, "measure_training", lambda *arguments: {
        "train_accuracy": torch.tensor([accuracy], dtype=torch.float64)})
    settings = small_settings(runs=1)
    settings.epochs = 4
    history = experiment.train_model(made_up_data(), 0, 0, 24, settings)
    # Three steps are an epoch. Measured at the steps 0 to 10, and at the end, 12.
    steps = [0, 1, 2] if ends else [*range(11), 12]
    assert history["epoch"].tolist() == pytest.approx([step / 3 for step in steps])


def test_a_run_that_has_ended_keeps_its_last_values():
    short = {"epoch": np.array([0, 0.5]), "train_loss": np.array([3.0, 1.0])}
    long = {"epoch": np.array([0, 0.5, 1, 2]), "train_loss": np.array([4.0, 2.0, 1.5, 1.2])}
    for runs, order in (([short, long], [0, 1]), ([long, short], [1, 0])):
        aligned = experiment.align_runs(runs)
        assert aligned["epoch"].tolist() == [0, 0.5, 1, 2]
        np.testing.assert_array_equal(
            aligned["train_loss"][order], [[3, 1, 1, 1], [4, 2, 1.5, 1.2]])
    assert experiment.align_runs([short])["train_loss"].tolist() == [[3, 1]]


def test_every_size_and_fraction_has_its_own_runs_in_order(monkeypatch):
    def train_model(data, fraction, run_number, train_size, settings):
        return {"train_loss": [train_size, fraction, run_number]}

    monkeypatch.setattr(experiment, "train_model", train_model)
    monkeypatch.setattr(experiment, "SIZES", (6, 12, 24, 48))
    trained = experiment.train_all(made_up_data(), small_settings(runs=2))
    assert list(trained) == [*((24, fraction) for fraction in experiment.FRACTIONS),
                             (6, 0), (6, 1), (12, 0), (12, 1)]
    for (size, fraction), runs in trained.items():
        assert [run["train_loss"] for run in runs] == [[size, fraction, 0], [size, fraction, 1]]


def small_settings(runs):
    return SimpleNamespace(seed=0, device=torch.device("cpu"), lr=0.02, batch_size=8, epochs=1,
                           runs=runs, train_size=24, hidden_width=128, jobs=1, cluster=None,
                           experiment="test")
