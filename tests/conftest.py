"""What all tests share."""

from hypothesis import settings

# A busy machine must not fail a property: how long an example takes is never what is tested.
settings.register_profile("attendant", deadline=None)
settings.load_profile("attendant")
