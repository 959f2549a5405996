"""`python -m persongen_lib` is the command `persongen`."""

import sys

from persongen_lib.cli.main import main

sys.exit(main())
