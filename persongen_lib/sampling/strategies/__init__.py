"""The sampling strategies, one file each."""
