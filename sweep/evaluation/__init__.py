"""From answers to a ranking that can be trusted: rows, questions, statistics, racing and the final table."""
