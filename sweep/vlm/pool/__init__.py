"""Work items on a pool of Ray actors."""
