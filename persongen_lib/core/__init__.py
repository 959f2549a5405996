"""Specs, checks, files, the run store and registries: what everything else stands on."""
