"""What people see of a run. Reads values and files; knows neither the driver nor Ray."""
