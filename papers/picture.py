"""Photograph the claims of a report, without the trainings, for the front page: python papers/picture.py report

Needs a Chromium or Chrome on the path, or named by CHROMIUM.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from matplotlib import image

from driftproof.validation.reporting import rebuild

PICTURE = Path(__file__).resolve().parent / "figures" / "report.png"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = (1280, 1500)
LARGEST = 300_000


def main() -> None:
    if len(sys.argv) != 2 or not (report := Path(sys.argv[1]) / "verify.json").is_file():
        raise SystemExit("usage: python papers/picture.py REPORT, a folder that make verify wrote")
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        raise SystemExit(f"picture: none of {', '.join(NAMES)} was found; name one in CHROMIUM")
    with tempfile.TemporaryDirectory() as profile, tempfile.TemporaryDirectory() as claims:
        shutil.copy(report, claims)
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--force-device-scale-factor=1",
            f"--user-data-dir={profile}",
            f"--window-size={SIZE[0]},{SIZE[1]}",
            f"--screenshot={PICTURE}",
            rebuild(Path(claims)).resolve().as_uri(),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    height, width = image.imread(PICTURE).shape[:2]
    bytes_ = PICTURE.stat().st_size
    print(f"{PICTURE.name}: {width} x {height}, {bytes_} bytes")
    if bytes_ > LARGEST:
        raise SystemExit(f"picture: more than {LARGEST} bytes")


if __name__ == "__main__":
    main()
