"""Memory of trainings and samplings, computed before anything is loaded."""
