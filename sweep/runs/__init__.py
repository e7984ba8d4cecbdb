"""Run folders: their paths, their records and how they are found."""
