"""Pipelines of diffusers that sample by a strategy, one file per family."""
