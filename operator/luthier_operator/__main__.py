"""`python -m luthier_operator`."""

import logging
import os
import sys

from luthier_operator.main import main

code = main()
logging.shutdown()
sys.stdout.flush()
sys.stderr.flush()
# The interpreter's own end takes the client's model classes apart one by one: two
# seconds in which a successor waits. Everything that must be closed is closed.
os._exit(code)
