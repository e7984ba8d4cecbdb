"""What a run has to show: the files of a run, read and written without Ray."""
