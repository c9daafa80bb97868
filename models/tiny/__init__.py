"""loupe-tiny: our own small vision-language model, for tests and demonstrations. Light to import."""
