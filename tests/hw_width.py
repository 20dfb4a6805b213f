"""Do wider networks classify better after a few epochs?    python hw_width.py"""

from common.command_line import Flag, main, positive_integer
from common.data import load_dataset
from common.evaluation import evaluate
from common.models import mlp
from common.pieces import Piece, run_pieces
from common.plotting import COLORS, draw_runs, new_figure
from common.statistics import mean_columns
from common.training import cross_entropy, expand_to_runs, run_generators, train

import numpy as np

FLAGS = {"runs": Flag(positive_integer, 5, quick=2, help="repeated runs of each width"),
         "epochs": Flag(positive_integer, 5, quick=2, help="passes through the training images")}
WIDTHS = (8, 32, 128)


def train_model(data, width, settings):
    """The test accuracies (runs,) of a stack of networks of one width."""
    images, labels = data.train_images[:2_000], data.train_labels[:2_000]
    generators = run_generators(settings.seed, settings.runs, "initialization")
    model = mlp([784, width, 10], generators).to(settings.device)
    train(model, images, expand_to_runs(labels, model), cross_entropy, learning_rate=1e-3,
          epochs=settings.epochs, batch_size=50,
          order_generators=run_generators(settings.seed, settings.runs, "order"))
    _, accuracies = evaluate(model, data.test_images, data.test_labels)
    return accuracies.cpu().numpy()


def run(settings):
    data = load_dataset(settings.dataset, settings.data_dir, settings.device)
    pieces = {}  # one for each width; all cores share them
    for width in WIDTHS:
        pieces[width] = Piece(f"width {width}", train_model, (width, settings),
                              steps=40 * settings.epochs, step_cost=width, data=data)
    accuracies = run_pieces(pieces, settings)
    table = [{"width": width, **mean_columns({"test_accuracy": accuracies[width]})}
             for width in WIDTHS]
    return {"table": table, "curves": {"test_accuracy": accuracies}}


def plot(results):
    widths = list(results["curves"]["test_accuracy"])
    accuracies = 100 * np.transpose(list(results["curves"]["test_accuracy"].values()))
    title = f"{widths[-1]} hidden units classify {np.median(accuracies[:, -1]):.1f}% of test images"
    figure, panels = new_figure(title, results, 1, 1)
    draw_runs(panels[0, 0], widths, accuracies, COLORS[0])
    panels[0, 0].set(xscale="log", xlabel="hidden units", ylabel="test accuracy (%)")
    return figure


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True)
