"""How sure a finding is: one rule for the whole report."""

CERTAINTY_RULE = (
    "*Settled*: the p-value, corrected for the number of comparisons, is below 0.01. "
    "*Suggestive*: below 0.05. *Open*: the rest. Without a p-value the 95 % interval decides: "
    "settled if it is farther from \"no effect\" than it is wide (4 to 6 is 3 away from 1 and 2 "
    "wide), suggestive if it is nearer, open if it contains it.")


def certainty(p_value=None, interval=None, none=0):
    """The word of CERTAINTY_RULE for a corrected p-value, or for a 95 % interval.

    interval is {"value": …, "low": …, "high": …} or {"value": …, "ci95": …}; none is the value of
    no effect. Where nothing is measured, None, the finding is open.
    """
    if p_value is not None and interval is not None:
        raise ValueError("certainty takes a p_value or an interval, not both")
    if p_value is not None:
        if p_value < 0.01:
            return "settled"
        return "suggestive" if p_value < 0.05 else "open"
    low, high = bounds(interval)
    if low is None or high is None:
        return "open"
    distance = max(low - none, none - high)  # negative where the interval holds no effect
    if distance > high - low:
        return "settled"
    return "suggestive" if distance > 0 else "open"


def bounds(interval):
    """The two ends of an interval, None where they were not measured."""
    if interval is None:
        return None, None
    if "ci95" not in interval:
        return interval["low"], interval["high"]
    if interval["ci95"] is None:
        return None, None
    return interval["value"] - interval["ci95"], interval["value"] + interval["ci95"]
