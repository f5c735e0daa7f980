"""Makes class data of Spark, by which its processes start without loading thousands of classes: class_data.py ARCHIVE.

A JVM takes class data only where its class path begins as the one did that they were made with. The path that Spark's
scripts make does not: it begins with a folder of settings, and the order of the jars is the file system's. So a jar
that names all the others in a fixed order is made, too, and spark-defaults.conf puts it in front.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

INDEX = "cloudmesh-classpath.jar"
# A line of a manifest has at most 72 bytes; with a blank before it, it goes on with the one before.
_LINE = 72
_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.authenticate": "true",
    "spark.authenticate.secret": "of nobody",
    "spark.network.crypto.enabled": "true",
    "spark.kubernetes.container.image": "none",
}
_ENVIRONMENT = {"SPARK_LOCAL_IP": "127.0.0.1", "KUBERNETES_REQUEST_RETRY_BACKOFFLIMIT": "0"}


def manifest(names: Iterable[str]) -> str:
    """Return the manifest of a jar that stands for the jars of these names beside it."""
    entry = "Class-Path: " + " ".join(names)
    rest = range(_LINE, len(entry), _LINE - 1)
    lines = [entry[:_LINE], *(f" {entry[start : start + _LINE - 1]}" for start in rest)]
    return "\n".join(("Manifest-Version: 1.0", *lines, ""))


def index(jars: Path) -> Path:
    """Make the jar that stands for all in the folder `jars`."""
    names = sorted(jar.name for jar in jars.glob("*.jar"))
    with ZipFile(jars / INDEX, "x") as archive:
        archive.writestr("META-INF/MANIFEST.MF", manifest(names))
    return jars / INDEX


def main() -> None:
    """Make the jar, and have Spark run a typical job, whose classes are kept at its end."""
    home, archive = Path(os.environ["SPARK_HOME"]), sys.argv[1]
    settings = {
        **_SETTINGS,
        "spark.driver.extraClassPath": str(index(home / "jars")),
        "spark.driver.extraJavaOptions": f"-XX:ArchiveClassesAtExit={archive} -Xlog:cds*=off -XX:TieredStopAtLevel=1",
    }
    arguments = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    program = str(Path(__file__).with_name("typical_job.py"))
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **_ENVIRONMENT, "SPARK_WORKER_DIR": folder}
        command = [f"{home}/bin/spark-submit", *arguments, program]
        subprocess.run(command, check=True, cwd=folder, env=environment)  # noqa: S603 - the image's own
    Path(archive).stat()


if __name__ == "__main__":
    main()
