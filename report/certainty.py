"""How sure a finding is: one rule for the whole report."""

CERTAINTY_RULE = (
    "*Settled*: the p-value, corrected for the number of comparisons, is below 0.01. "
    "*Suggestive*: below 0.05. *Open*: the rest. *Clear*: settled or suggestive.")


def certainty(p_value):
    """The word of CERTAINTY_RULE for a corrected p-value.

    Where nothing could be tested, None, the finding is open.
    """
    if p_value is None:
        return "open"
    if p_value < 0.01:
        return "settled"
    return "suggestive" if p_value < 0.05 else "open"
