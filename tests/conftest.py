"""What all tests share."""

import os

from hypothesis import settings

# Networks this small are quicker on one thread, and tests run side by side. Before torch is imported, which reads it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine must not fail a property: how long an example takes is never what is tested.
settings.register_profile("attendant", deadline=None)
settings.load_profile("attendant")
