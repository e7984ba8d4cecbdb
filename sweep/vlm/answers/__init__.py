"""Answers of the vision-language model: kept for good, asked for once."""
