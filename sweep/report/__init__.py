"""What people see of a run. Reads values and files; knows neither the driver nor Ray.

The door for commands is `sweep.report.terminal`. Each table stands in the module of its view and fits 80 columns.
"""
