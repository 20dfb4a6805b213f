"""The sweep over parameters: its sizes, its order of runs, and what is measured in it."""

from types import SimpleNamespace

import hw1_3_params as experiment
from common.data import Dataset, randomize_labels
from common.models import mlp
from common.parameters import parameter_vectors
from common.training import cross_entropy, run_generators

import pytest
import torch


def test_the_sweep_spans_what_the_question_asks():
    counts = [(784 + 1) * width + (width + 1) * 10 for width in experiment.WIDTHS]
    assert counts == sorted(set(counts))
    assert counts[-1] / counts[0] >= 1000
    assert 0 in experiment.FRACTIONS and 0.2 in experiment.FRACTIONS


def test_a_width_is_measured_for_every_fraction_and_run_on_its_own_labels(monkeypatch):
    """Without training, equal runs are equal networks: they differ in their labels alone."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(40, 1, 4, 4, generator=random)
    labels = torch.randint(10, (40,), generator=random)
    data = Dataset("made up", images, labels, images[:15], labels[:15])
    settings = SimpleNamespace(seed=0, device=torch.device("cpu"), lr=0.05, batch_size=8, epochs=1,
                               runs=3, train_size=30, jobs=1, cluster=None, experiment="test",
                               dataset="made up", data_dir="data")
    stacks = []

    def note_stack(model, images, labels, *_, order_generators, **__):
        orders = [torch.randperm(30, generator=generator) for generator in order_generators]
        stacks.append((parameter_vectors(model), orders))

    monkeypatch.setattr(experiment, "train", note_stack)
    monkeypatch.setattr(experiment, "load_dataset", lambda *_: data)
    monkeypatch.setattr(experiment, "WIDTHS", (2, 3, 5))
    monkeypatch.setattr(experiment, "NETWORKS_TOGETHER", 4)
    monkeypatch.setattr(experiment, "WIDE", 5)  # networks as wide as this are alone in their stack
    curves = experiment.run(settings)["curves"]

    assert curves["parameters"] == [(16 + 1) * width + (width + 1) * 10 for width in (2, 3, 5)]
    assert sorted(len(vectors) for vectors, _ in stacks) == [1] * 6 + [2, 2, 4, 4]
    centered = images[:30] - images[:30].mean(0)
    for place, width in enumerate((2, 3, 5)):
        for run in range(3):
            model = mlp([16, width, 10], run_generators(0, [run], "initialization"))
            order = torch.randperm(30, generator=run_generators(0, [run], "order")[0])
            orders = [order_of_network for vectors, orders in stacks
                      for vector, order_of_network in zip(vectors, orders)
                      if torch.equal(vector, parameter_vectors(model)[0])]
            assert [torch.equal(order, other) for other in orders] == [True, True]  # fractions
            with torch.no_grad():
                logits = model(centered.unsqueeze(0))
                test_logits = model((images[:15] - images[:30].mean(0)).unsqueeze(0))
            for fraction in (0, 0.2):
                given, _ = randomize_labels(labels[:30], fraction,
                                            run_generators(0, [run], "labels")[0])
                expected = {
                    "train_loss": cross_entropy(logits, given[None]),
                    "train_accuracy": (logits.argmax(2) == given).double().mean(),
                    "test_loss": cross_entropy(test_logits, labels[None, :15]),
                    "test_accuracy": (test_logits.argmax(2) == labels[:15]).double().mean(),
                }
                for name, value in expected.items():
                    assert curves[name][fraction][run, place] == pytest.approx(value.item()), name
