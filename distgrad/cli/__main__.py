"""``python -m distgrad.cli``: the command ``distgrad``."""

import sys

from distgrad.cli import main

sys.exit(main())
