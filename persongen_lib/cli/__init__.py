"""The commands of `persongen`, one file each; they import what is heavy only when they run."""
