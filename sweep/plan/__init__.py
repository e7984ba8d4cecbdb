"""From an argument or a run folder to one checked `Plan`. `make_plan` is the door."""
