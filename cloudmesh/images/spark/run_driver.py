"""Runs a Spark driver: `run_driver.py ARGUMENTS`, those of spark-submit (see entrypoint.sh and supervise.py).

It does what Spark's bin/spark-submit and bin/spark-class do, but for two things: carriage returns stay in arguments,
and the process ends when the program's main has ended, whatever threads are left, as it does on YARN
(EndWithMain.java, sitecustomize.py). With the property spark.submit.callSystemExitOnMainExit=false it waits for them.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

import supervise

LAUNCHER, SUBMIT = "org.apache.spark.launcher.Main", "org.apache.spark.deploy.SparkSubmit"
END_WITH_MAIN = "cloudmesh.EndWithMain"
WAITS = "spark.submit.callSystemExitOnMainExit"
REFUSED = 64


def read_properties(arguments: Sequence[str]) -> dict[str, str]:
    """Return the properties among the options of spark-submit; what follows the program's file is the program's."""
    properties = {}
    for option, value in zip(arguments[::2], arguments[1::2], strict=False):
        if not option.startswith("--"):
            break
        if option == "--conf":
            name, _, properties[name] = value.partition("=")
    return properties


def find_flaws(properties: Mapping[str, str]) -> Iterator[str]:
    """Yield what would make Spark fail later, and in many lines."""
    events = properties.get("spark.eventLog.dir", "file:///tmp/spark-events")
    if properties.get("spark.eventLog.enabled", "").lower() == "true" and "$" not in events:
        location = urlsplit(events)
        if location.scheme in ("", "file") and not os.access(location.path, os.W_OK | os.X_OK):
            what = "cannot be written to" if os.path.isdir(location.path) else "does not exist"  # noqa: PTH112
            yield (
                f"spark.eventLog.dir: the directory {location.path} {what} in the driver's container; name one that is "
                "in a volume of spec.storage, and make it there before"
            )


def build_command(arguments: Sequence[str]) -> list[str]:
    """Return the command by which spark-submit runs with these arguments; SystemExit: Spark refuses them."""
    # Spark's launcher takes a carriage return at the end of an argument for a part of Windows' line ends.
    stand_in = next(char for char in map(chr, range(0xE000, 0xF8FF)) if not any(char in word for word in arguments))
    launcher = [f"{os.environ['JAVA_HOME']}/bin/java", *shlex.split(os.environ.get("SPARK_LAUNCHER_OPTS", ""))]
    launcher += ["-Xmx128m", "-cp", f"{os.environ['SPARK_HOME']}/jars/*", LAUNCHER, SUBMIT]
    launcher += [word.replace("\r", stand_in) for word in arguments]
    # What it prints is for us (see sitecustomize.py).
    environment = {**os.environ, "CMS_OUTPUTS": ""}
    done = subprocess.run(launcher, stdout=subprocess.PIPE, env=environment, check=False)  # noqa: S603 - of the image
    said, _, command = done.stdout.partition(b"\0\n")
    if done.returncode or not command:
        sys.stderr.write(said.decode(errors="replace"))
        sys.exit(done.returncode or REFUSED)
    return [os.fsdecode(word).replace(stand_in, "\r") for word in command.split(b"\0")[:-1]]


def main() -> int:
    """Run the driver."""
    # PID 1 gets only signals that it has a handler for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = sys.argv[1:]
    properties = read_properties(arguments)
    for flaw in find_flaws(properties):
        supervise.say(flaw)
        return REFUSED
    os.environ["PYTHONHASHSEED"] = "0"  # as bin/spark-submit does
    command = build_command(arguments)
    if properties.get(WAITS, "").lower() != "false":
        os.environ["CMS_END_WITH_MAIN"] = "1"
        command.insert(command.index(SUBMIT), END_WITH_MAIN)
    return supervise.driver(command)


if __name__ == "__main__":
    sys.exit(main())
