"""Translation between Ray Tune and the sweep: nothing is decided here."""
