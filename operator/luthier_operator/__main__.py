"""`python -m luthier_operator`."""

import sys

from luthier_operator.main import main

sys.exit(main())
