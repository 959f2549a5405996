"""Trials of a generator: how well it keeps individuals, measured and asked."""
