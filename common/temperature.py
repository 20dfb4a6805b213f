"""The test loss of a classifier without its over-confidence: one temperature, fitted elsewhere.

Cross-entropy is large where a network is wrong and very sure. To divide all logits by one number T,
the temperature, changes how sure a network is, and none of its answers (Guo et al. 2017,
arXiv:1706.04599). T is fitted on images that the network was not trained on, so that the test
images have no part in it.
"""

from common.data import images_after_training
from common.evaluation import predict
from common.training import cross_entropy

import numpy as np
import scipy
import torch
from torch.nn import functional

HELD_OUT = 2_000  # images on which a temperature is fitted
# Of the temperatures that are tried, the lowest and the highest. Where a network has every image
# right, the best temperature is 0, where it knows nothing, it is infinite.
LOWEST, HIGHEST = 1e-2, 1e3
TOLERANCE = 1e-4  # of log T: near the minimum the loss then changes by less than 1e-8 nats


def fit_temperature(logits, labels):
    """The temperature of every run that gives the lowest mean cross-entropy: float64, (R,).

    logits are (R, N, classes), labels (N,).
    """
    temperatures = [temperature_of_run(run_logits, labels) for run_logits in logits.double()]
    return torch.tensor(temperatures, dtype=torch.float64, device=logits.device)


def temperature_of_run(logits, labels):
    """The temperature of one run with logits (N, classes), a number."""

    def loss(log_temperature):
        return functional.cross_entropy(logits / np.exp(log_temperature), labels).item()

    # The loss is convex in 1 / T, so that it has one minimum in log T.
    found = scipy.optimize.minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)),
                                           method="bounded", options={"xatol": TOLERANCE})
    return np.exp(found.x)


def loss_at_temperature(logits, labels, temperatures):
    """Mean cross-entropy (nats) of every run, its logits divided by its temperature: float64, (R,).

    logits are (R, N, classes), labels (N,), temperatures (R,).
    """
    divided = logits.double() / temperatures.view(-1, 1, 1)
    return cross_entropy(divided, labels.expand(len(logits), -1))


def calibrate(model, data, train_size, parameters=None, mean_image=0):
    """Test loss of every run at its temperature, fitted on training images that it never saw.

    The runs were trained on the first train_size images of data, a Dataset. parameters, a dict of
    stacked tensors, stand for the model's own. mean_image (1, 28, 28) is subtracted from all images
    where the runs were trained on such. Returns {"temperature": (R,), "calibrated_test_loss":
    (R,)}, NaN where there is no image left to fit a temperature on.
    """
    images, labels = images_after_training(data, train_size, HELD_OUT)
    test_logits = predict(model, data.test_images - mean_image, parameters)
    if len(images) == 0:
        unknown = torch.full((len(test_logits),), torch.nan, dtype=torch.float64)
        return {"temperature": unknown, "calibrated_test_loss": unknown}
    temperatures = fit_temperature(predict(model, images - mean_image, parameters), labels)
    return {"temperature": temperatures,
            "calibrated_test_loss": loss_at_temperature(test_logits, data.test_labels,
                                                        temperatures)}
