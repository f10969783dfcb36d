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
        from tests.parity.noise import become_what_is_asked_for

        become_what_is_asked_for()
    sys.path[0] = str(Path(sys.argv[1]).parent)  # what a reader's script would find, and not our tests
    runpy.run_path(sys.argv[1], run_name="__main__")
