"""The networks of the micro-world."""
