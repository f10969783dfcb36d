"""Run the code of a page as its reader would, with the same Hypothesis examples every time: ``page.py FILE``."""

import os
import runpy
import sys
from pathlib import Path

import hypothesis

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("fixed")

if __name__ == "__main__":
    if "DRIFTPROOF_NOISE" in os.environ:  # make portability
        sys.path[0] = str(Path(__file__).resolve().parent.parent)
        import numpy as np

        from tests.parity.noise import other_processor

        other_processor(int(os.environ["DRIFTPROOF_NOISE"]), np).__enter__()
    sys.path[0] = str(Path(sys.argv[1]).parent)  # what a reader's script would find, and not our tests
    runpy.run_path(sys.argv[1], run_name="__main__")
