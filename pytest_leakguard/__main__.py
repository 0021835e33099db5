"""``python -m pytest_leakguard`` is the console script."""

import sys

from pytest_leakguard.cli.main import main

sys.exit(main())
