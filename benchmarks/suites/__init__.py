"""Which cells are measured, fixed here, and the run that measures them."""
