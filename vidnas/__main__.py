"""`python -m vidnas`."""

import sys

from vidnas.cli.main import main

sys.exit(main())
