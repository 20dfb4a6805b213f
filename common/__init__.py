"""What the nine experiments share, from data and models to statistics, figures and results."""

from common import interrupts as interrupts  # first, because the imports after it take seconds
