"""One trial on a worker. `Trial` in `sweep.trials.trial` is the door."""
