"""`python -m lmcache_admin`: the command line."""

from __future__ import annotations

import sys

from lmcache_admin.cli import main

sys.exit(main())
