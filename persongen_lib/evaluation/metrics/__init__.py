"""The metrics, one file each with the columns that it fills."""
