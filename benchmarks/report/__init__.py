"""A results file: written by a run, checked, shown as a table and as a plot."""
