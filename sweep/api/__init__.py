"""The door for notebooks and programs: `run` and `resume` drive a sweep, `load_run` reads one. Errors are raised."""

from selector.errors import UserError
from sweep.api.drive import resume, run
from sweep.api.loaded import Best, Run, load_run

__all__ = ["Best", "Run", "UserError", "load_run", "resume", "run"]
