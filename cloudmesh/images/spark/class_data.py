"""Makes an archive of Spark's class data, with which JVMs start faster: `class_data.py ARCHIVE`.

A JVM uses class data only if its class path begins like the one that they were made with. The path that Spark's scripts
make does not: it begins with a folder of settings, and the file system determines the order of the jars. So this also
makes a jar that names all the others in a fixed order, and spark-defaults.conf puts it in front.
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
# A line of a manifest has at most 72 bytes; a line that begins with a blank continues the line before.
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
    """Return the manifest of a jar that stands for the jars with these names in the same folder."""
    entry = "Class-Path: " + " ".join(names)
    rest = range(_LINE, len(entry), _LINE - 1)
    lines = [entry[:_LINE], *(f" {entry[start : start + _LINE - 1]}" for start in rest)]
    return "\n".join(("Manifest-Version: 1.0", *lines, ""))


def index(jars: Path) -> Path:
    """Make the jar that stands for all jars in the folder `jars`, and return its path."""
    names = sorted(jar.name for jar in jars.glob("*.jar"))
    with ZipFile(jars / INDEX, "x") as archive:
        archive.writestr("META-INF/MANIFEST.MF", manifest(names))
    return jars / INDEX


def main() -> None:
    """Make the jar, and let Spark run a typical job; at its end, the JVM writes its classes to the archive."""
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
        subprocess.run(command, check=True, cwd=folder, env=environment)  # noqa: S603 - a command of the image
    Path(archive).stat()


if __name__ == "__main__":
    main()
