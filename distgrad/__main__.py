"""``python -m distgrad`` is the command ``distgrad``, where that is not on the path."""

import sys

from distgrad.cli import main

if __name__ == "__main__":
    sys.exit(main())
