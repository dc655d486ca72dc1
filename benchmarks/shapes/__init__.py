"""Models of a real size with random weights from a seed, published as ordinary bundles: enough for speed."""
