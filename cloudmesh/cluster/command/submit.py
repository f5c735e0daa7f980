"""What `cms cluster submit` does: one job, several by a sweep, or one in the engine's own language.

Imported with the command, so it imports nothing that takes time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.command.arguments import Arguments
from cloudmesh.cluster.core.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from cloudmesh.cluster.core.model import JobStatus
    from cloudmesh.cluster.spec.job import JobSpec
    from cloudmesh.cluster.spec.native import NativeJob

_RESULT_COLUMNS = ("state", "duration", "exit_code", "reason")


def submit(arguments: Arguments) -> None:
    """Run a job, or several."""
    from cloudmesh.cluster.spec.native import NativeJob

    if arguments.flag("--sweep"):
        _submit_sweep(arguments)
        return
    job = _load(arguments, parameters(arguments.arguments["--param"]))
    if isinstance(job, NativeJob):
        _submit_native(arguments, job)
    elif arguments.flag("--dryrun"):
        _show(arguments, {_job_id(arguments, job): job}, single=True)
    else:
        _submit_one(arguments, job)


def program(arguments: Mapping[str, Any]) -> list[str]:
    """Return the job file and its arguments, without the `--` that lets arguments start with a dash.

    Raises:
        UsageError: there is no job file.
    """
    words = [arguments["JOB"], *arguments["ARGS"]]
    if "--" in words and not arguments["--"]:
        words.remove("--")
    if not words:
        raise UsageError("'submit' needs a job: a job file, a .py, a .jar, or a job in the engine's own language")
    return words


def parameters(options: Sequence[str]) -> dict[str, str]:
    """Return parameters written as K=V.

    Raises:
        UsageError: one is written otherwise.
    """
    values = {}
    for text in options:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"--param={ascii(text)[1:-1]} is not valid: write --param=KEY=VALUE")
        values[key] = value
    return values


def sweep_ids(names: Sequence[str], job_id: str) -> list[str]:
    """Return an id for each job of a sweep: its name with a random suffix, or `job_id` with its number."""
    from cloudmesh.cluster.core.names import check, new_job_id

    if job_id:
        return [check(f"{job_id}-{number}", "job id") for number in range(1, len(names) + 1)]
    return [new_job_id(name) for name in names]


def rows(statuses: Sequence[JobStatus], swept: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return what a sweep came to, a row for each job; a parameter called as a column is `params.NAME`."""
    from cloudmesh.cluster.command.console.formats import as_plain

    taken = ("id", *_RESULT_COLUMNS)
    table = []
    for status, params in zip(statuses, swept, strict=True):
        plain = as_plain(status)
        columns = {f"params.{name}" if name in taken else name: value for name, value in params.items()}
        table.append({"id": status.id, **columns, **{name: plain[name] for name in _RESULT_COLUMNS}})
    return table


def _submit_one(arguments: Arguments, job: JobSpec) -> None:
    from cloudmesh.cluster.core.model import State

    output = None if arguments.flag("--detach") else arguments.write_output
    secrets = _secrets(arguments, [job])
    job_id = _job_id(arguments, job)
    try:
        with arguments.cluster.job_service() as service:
            status = service.submit(job, job_id=job_id, secrets=secrets, output=output)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_explain_interrupt(arguments.name, job_id)) from None
    # A service that runs is all that was asked for.
    if arguments.flag("--detach") or status.state is State.RUNNING:
        arguments.print(status.id)
    elif status.state is not State.SUCCEEDED:
        raise ClusterError(_outcome(status))


def _submit_sweep(arguments: Arguments) -> None:
    from cloudmesh.cluster.core.model import State
    from cloudmesh.cluster.spec import sweep

    arguments.check_format()
    names, combinations = sweep.combinations(parameters(arguments.arguments["--param"]))
    loaded: list[Any] = [_load(arguments, params) for params in combinations]
    jobs = dict(zip(sweep_ids([job.name for job in loaded], arguments.job_id), loaded, strict=True))
    if arguments.flag("--dryrun"):
        _show(arguments, jobs)
        return
    follow = not arguments.flag("--detach")
    secrets = _secrets(arguments, loaded)
    with arguments.cluster.job_service() as service:
        statuses = service.submit_all(jobs, secrets=secrets, follow=follow)
    if not follow:
        for status in statuses:
            arguments.print(status.id)
        return
    table = rows(statuses, [{name: params[name] for name in names} for params in combinations])
    arguments.show(_readable(arguments, table), tuple(table[0]))
    if failed := [status.id for status in statuses if status.state is not State.SUCCEEDED]:
        raise ClusterError(f"{len(failed)} of {len(statuses)} jobs did not succeed: {', '.join(failed)}")


def _submit_native(arguments: Arguments, job: NativeJob) -> None:
    """Run a job in the engine's own language."""
    import json

    from cloudmesh.cluster.core.model import State

    if arguments.text("--secrets"):
        raise UsageError(f"--secrets is for job files of ours: {job.source} names its secrets itself")
    if arguments.job_id:
        raise UsageError(f"--id is for job files of ours: {job.source} names its jobs itself")
    if arguments.flag("--dryrun"):
        with arguments.cluster.job_service() as service:
            arguments.print(json.dumps(service.plan_native(job), indent=2))
        return
    output = None if arguments.flag("--detach") else arguments.write_output
    accepted, ended = arguments.cluster.submit_native(job, output=output)
    if arguments.flag("--detach"):
        for submission in accepted:
            arguments.print(submission.job_id or submission.name)
    if failed := [status for status in ended if status.state is not State.SUCCEEDED]:
        raise ClusterError("; ".join(map(_outcome, failed)))


def _explain_interrupt(cluster: str, job_id: str) -> str:
    """Return what has become of a job whose submission, or the following of it, was interrupted."""
    return (
        f"interrupted; job {job_id} goes on if it was submitted: `cms cluster jobs -n {cluster} {job_id}` tells, "
        f"`logs --follow`, `stop` and `get` take the same; to finish what was begun, submit again with --id={job_id}"
    )


def _outcome(status: JobStatus) -> str:
    """Return in words how a job ended."""
    return f"job {status.id} {status.state}{f': {status.reason}' if status.reason else ''}"


def _readable(arguments: Arguments, table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows as they are for programs, and with readable times for a table."""
    if arguments.format != "table":
        return table
    return [{**row, "duration": f"{row['duration']:.0f} s"} for row in table]


def _load(arguments: Arguments, params: Mapping[str, str]) -> JobSpec | NativeJob:
    from cloudmesh.cluster.spec import load

    file, *words = program(arguments.arguments)
    return load.load(file, words, params, arguments.text("--params"))


def _job_id(arguments: Arguments, job: JobSpec) -> str:
    from cloudmesh.cluster.core import names

    return arguments.job_id or names.new_job_id(job.name)


def _show(arguments: Arguments, jobs: Mapping[str, JobSpec], *, single: bool = False) -> None:
    """Print jobs as the engine would get them, as JSON; secrets have no value there."""
    import json

    with arguments.cluster.job_service() as service:
        plans = [service.dryrun(job, job_id) for job_id, job in jobs.items()]
    arguments.print(json.dumps(plans[0] if single else plans, indent=2))


def _secrets(arguments: Arguments, jobs: Sequence[JobSpec]) -> dict[str, str]:
    """Return the values of the jobs' secrets."""
    import os

    from cloudmesh.cluster.command.console import prompts
    from cloudmesh.cluster.spec import secret_values

    file = arguments.text("--secrets")
    values = secret_values.from_file(file) if file else {}
    if file and not any(job.secrets for job in jobs):
        raise UsageError(f"--secrets={ascii(file)[1:-1]}: the job names no secrets under spec.secrets")
    if file and secret_values.open_to_others(file):
        arguments.progress.note(f"{file} can be read by others than you: chmod 600 {file}")
    asking = (lambda question: prompts.ask_password(arguments.progress, question)) if prompts.can_ask() else None
    return secret_values.collect_values(jobs, values, os.environ, asking)
