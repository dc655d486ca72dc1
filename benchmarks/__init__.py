"""Measurements of the server and its peers, a product of their own: `python -m benchmarks --help`.

measure/    what any benchmark needs: the environment it ran in, interleaved pairs, paired ratios, result files
load/       the load generator: request lists, schedules, the compiled client, checked replies, latencies
shapes/     models of a real size with random weights, published as ordinary bundles
peers/      the servers under test, ours among them, each in its own environment
suites/     which cells are measured, and the run that measures them
report/     a results file as a table and as a plot
"""
