"""One run, from its folder to its ranking. `execute` in `sweep.driver.run` is the door."""
