"""The experiment that the project is about: the same model and token budget, with and without looking closer."""
