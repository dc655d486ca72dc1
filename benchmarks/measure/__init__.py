"""What any benchmark needs: the environment that it ran in, interleaved pairs, paired ratios, result files."""
