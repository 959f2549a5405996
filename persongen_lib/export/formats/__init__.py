"""The formats of other programs, one file each."""
