"""Statistics, fronts, findings and recommendations, read from results tables alone."""
