"""What the nine experiments share, from data and models to statistics, figures and results."""

import os

# One thread for every library, before any is imported: the digits of a sum depend on the number of
# threads. Cores are used by running pieces of work side by side, see common/pieces.py.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                  "VECLIB_MAXIMUM_THREADS"):
    os.environ[_variable] = "1"

from common import interrupts as interrupts  # noqa: E402  first of imports that take seconds
