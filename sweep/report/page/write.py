"""The report at the end of a run."""

from __future__ import annotations

from selector.errors import UserError
from sweep.plan.plan import AnyPlan, Plan
from sweep.report.page.page import report_html
from sweep.results.overview.sources import material_of, read_material
from sweep.runs.paths import RunPaths
from sweep.storage.outage import describe_os_error


def write_report(paths: RunPaths, plan: AnyPlan) -> str:
    """Write `report.html` into a run's folder. A run has ended well without it, too.

    Returns:
        where it is, or why there is none, in a line.
    """
    try:
        material = material_of(plan) if isinstance(plan, Plan) else read_material(paths)
        paths.report_file.write_text(report_html(paths, material))
    except UserError as error:
        return f"no report: {error}"
    except OSError as error:
        return f"no report: {describe_os_error(error)}"
    return f"report: {paths.report_file.shown}"
