"""What `cms cluster submit` does: one job, several by a sweep, or one in the engine's own language.

Imported with the command, so it imports nothing that takes time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudmesh.cluster.command import native
from cloudmesh.cluster.command.arguments import Arguments
from cloudmesh.cluster.core.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from cloudmesh.cluster.core.model import JobStatus
    from cloudmesh.cluster.spec.job import JobSpec
    from cloudmesh.cluster.spec.native import NativeJob


_RESULT_COLUMNS = ("state", "duration", "exit_code", "reason")


def submit(call: Arguments) -> None:
    """Run a job, or several."""
    from cloudmesh.cluster.spec.native import NativeJob

    if call.flag("--sweep"):
        _sweep(call)
        return
    job = _loaded(call, parameters(call.arguments["--param"]))
    if isinstance(job, NativeJob):
        if call.text("--secrets"):
            raise UsageError(f"--secrets is for job files of ours: {job.source} names its secrets itself")
        native.submit_native(call, job)
    elif call.flag("--dryrun"):
        _show(call, {_id(call, job): job}, single=True)
    else:
        _one(call, job)


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


def parameters(given: Sequence[str]) -> dict[str, str]:
    """Return parameters written as K=V.

    Raises:
        UsageError: one is written otherwise.
    """
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"--param={ascii(text)[1:-1]} is not valid: write --param=KEY=VALUE")
        found[key] = value
    return found


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
    found = []
    for status, params in zip(statuses, swept, strict=True):
        plain = as_plain(status)
        own_columns = {f"params.{name}" if name in taken else name: value for name, value in params.items()}
        found.append({"id": status.id, **own_columns, **{name: plain[name] for name in _RESULT_COLUMNS}})
    return found


def _one(call: Arguments, job: JobSpec) -> None:
    from cloudmesh.cluster import operations
    from cloudmesh.cluster.core.model import State

    output = None if call.flag("--detach") else call.pass_on
    secrets = _secrets(call, [job])
    status = operations.submit(call.context, call.name, job, job_id=call.job_id, secrets=secrets, output=output)
    # A service that runs is all that was asked for.
    if call.flag("--detach") or status.state is State.RUNNING:
        call.print(status.id)
    elif status.state is not State.SUCCEEDED:
        raise ClusterError(native.outcome(status))


def _sweep(call: Arguments) -> None:
    from cloudmesh.cluster import operations
    from cloudmesh.cluster.core.model import State
    from cloudmesh.cluster.spec import sweep

    _ = call.format  # a wrong one is refused before anything is sent
    names, every = sweep.combinations(parameters(call.arguments["--param"]))
    loaded: list[Any] = [_loaded(call, each) for each in every]
    jobs = dict(zip(sweep_ids([job.name for job in loaded], call.job_id), loaded, strict=True))
    if call.flag("--dryrun"):
        _show(call, jobs)
        return
    follow = not call.flag("--detach")
    statuses = operations.submit_all(call.context, call.name, jobs, secrets=_secrets(call, loaded), follow=follow)
    if not follow:
        for status in statuses:
            call.print(status.id)
        return
    found = rows(statuses, [{name: each[name] for name in names} for each in every])
    call.show(_readable(call, found), tuple(found[0]))
    if failed := [status.id for status in statuses if status.state is not State.SUCCEEDED]:
        raise ClusterError(f"{len(failed)} of {len(statuses)} jobs did not succeed: {', '.join(failed)}")


def _readable(call: Arguments, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows as they are for programs, and with readable times for a table."""
    return [{**row, "duration": f"{row['duration']:.0f} s"} for row in found] if call.format == "table" else found


def _loaded(call: Arguments, params: Mapping[str, str]) -> JobSpec | NativeJob:
    from cloudmesh.cluster.spec import load

    file, *arguments = program(call.arguments)
    return load.load(file, arguments, params, call.text("--params"))


def _id(call: Arguments, job: JobSpec) -> str:
    from cloudmesh.cluster.core import names

    return call.job_id or names.new_job_id(job.name)


def _show(call: Arguments, jobs: Mapping[str, JobSpec], *, single: bool = False) -> None:
    """Print jobs as the engine would get them, as JSON; secrets have no value there."""
    import json

    from cloudmesh.cluster import operations

    found = operations.dryrun(call.context, call.name, jobs)
    call.print(json.dumps(found[0] if single else found, indent=2))


def _secrets(call: Arguments, jobs: Sequence[JobSpec]) -> dict[str, str]:
    """Return the values of the jobs' secrets."""
    import os

    from cloudmesh.cluster.command.console import prompts
    from cloudmesh.cluster.spec import secret_values

    file = call.text("--secrets")
    given = secret_values.from_file(file) if file else {}
    if file and not any(job.secrets for job in jobs):
        raise UsageError(f"--secrets={ascii(file)[1:-1]}: the job names no secrets under spec.secrets")
    if file and secret_values.open_to_others(file):
        call.progress.note(f"{file} can be read by others than you: chmod 600 {file}")
    asking = (lambda question: prompts.ask_password(call.progress, question)) if prompts.can_ask() else None
    return secret_values.collect_values(jobs, given, os.environ, asking)
