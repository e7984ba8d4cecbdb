"""The GPU check: one command that measures and verifies everything that needs a card, in at most eight minutes.

`python -m benchmarks.gpu_check` on a bare machine: Python, torch and transformers, no Ray, no Optuna, no network. Each
step appends one line of JSON to a file as soon as it is done. `benchmarks.gpu_check.report` turns the file into
documentation.
"""
