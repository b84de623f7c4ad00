"""The operator under cProfile: `python -m bench.scale.profiled FILE`.

The operator's own `__main__` leaves without a farewell, and its figures would be lost.
"""

import cProfile
import os
import sys

from luthier_operator.main import main

profile = cProfile.Profile()
code = profile.runcall(main)
profile.dump_stats(sys.argv[1])
os._exit(code)
