"""What is known of a run as one document of tables, charts and texts. `sweep.report.page` and its neighbours render it.

The door is `overview` in `make.py`. Every number comes from a file of the run, and is computed by who owns it.
"""
