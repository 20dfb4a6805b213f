"""The sweep over parameters: its sizes, its order of runs, and what is measured in it."""

from types import SimpleNamespace

import hw1_3_params as experiment
from common.data import Dataset
from common.training import cross_entropy

import numpy as np
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
                               runs=3, train_size=40)
    models = []
    monkeypatch.setattr(experiment, "train", lambda model, *_, **__: models.append(model))
    monkeypatch.setattr(experiment, "WIDTHS", (2, 5))
    counts, measures = experiment.train_all_widths(data, settings)
    assert counts == [(16 + 1) * width + (width + 1) * 10 for width in (2, 5)]
    assert all(values.shape == (2, 3, 2) for values in measures.values())
    np.testing.assert_array_equal(measures["test_loss"][0], measures["test_loss"][1])
    centered, _, labels_of_networks = experiment.make_task(data, settings)
    for place, model in enumerate(models):
        with torch.no_grad():
            logits = model(centered.unsqueeze(0))
        losses = cross_entropy(logits, labels_of_networks)  # (fraction by fraction, run by run)
        for network, loss in enumerate(losses):
            fraction, run = divmod(network, 3)
            assert measures["train_loss"][fraction, run, place] == pytest.approx(loss.item())
