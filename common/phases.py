"""How a loss and its gradient's norm go together in the phases of training, from curves (R, records) over recorded steps."""

from math import ceil

import numpy as np
import scipy

from common.statistics import ci95_columns, ratio_ci95_columns, spearman

EARLY = 0.05  # the share of the steps that is called early; the rest is late
SMOOTH = 9  # records of the running median that a loss curve passes before its slope is taken


def early_records(steps):
    """Which records lie in the early phase, (records,): the first two at least."""
    return steps < max(EARLY * (steps[-1] + 1), 2)


def describe_phases(steps, loss, norm, batch_norm):
    """How loss and norm go together early, late and in all of training: a row each, of means over the runs.

    "Drops" are the quarter of the run's records in the phase at which its smoothed loss falls fastest, in
    −d log(loss) / d log(step), "plateaus" the slowest. The relative norm ‖∇L‖ / L = ‖∇ log L‖ is the slope that a log axis
    shows. Ratios are of geometric means.
    """
    speeds, early, rows = -np.gradient(np.log(smooth(loss)), np.log(steps + 1), axis=1), early_records(steps), []
    for phase, chosen in {"early": early, "late": ~early, "all": early | ~early}.items():
        x, y, batch, speed = (values[:, chosen] for values in (loss, norm, batch_norm, speeds))
        rows.append({
            "phase": phase, "records": int(chosen.sum()),
            **ci95_columns("rank_correlation", [spearman(*pair) for pair in zip(x, y)], limit=1),
            **ci95_columns("loss_fell_norm_rose", ((np.diff(x) < 0) & (np.diff(y) > 0)).mean(1)),
            **ratio_ci95_columns("drops_over_plateaus_relative_norm", drops_over_plateaus(y / x, speed)),
            **ratio_ci95_columns("batch_over_full_norm", scipy.stats.gmean(batch / y, axis=1)),
        })
    return rows


def drops_over_plateaus(values, speed):
    """Geometric mean of each run's values in its drops over that in its plateaus: (R, records) twice -> (R,)."""
    ordered = np.take_along_axis(values, speed.argsort(axis=1), axis=1)  # the slowest first
    quarter = ceil(ordered.shape[1] / 4)
    return scipy.stats.gmean(ordered[:, -quarter:], axis=1) / scipy.stats.gmean(ordered[:, :quarter], axis=1)


def smooth(values):
    """Running median along the records: (R, records) -> the same shape."""
    return scipy.ndimage.median_filter(values, (1, SMOOTH), mode="nearest")
