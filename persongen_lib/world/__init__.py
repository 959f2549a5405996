"""The embedded micro-world."""
