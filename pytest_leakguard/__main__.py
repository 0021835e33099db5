"""``python -m pytest_leakguard`` is the console script."""

import sys

from pytest_leakguard.cli import main

sys.exit(main())
