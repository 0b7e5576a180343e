"""``python -m genrev`` is the ``genrev`` command."""

import sys

from genrev.cli.main import main

sys.exit(main())
