"""The packaging of `cms cluster`, a plugin of cloudmesh-cmd5."""

from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).resolve().parent


def requirements(name: str) -> list[str]:
    """Return the requirements in a file: one a line, `#` begins a comment."""
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-"))]


def description() -> str:
    """Return the README, where there is one."""
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="cloudmesh-cluster",
    version="0.1.0",
    description="Nomad and Kubernetes clusters that run Spark jobs, by one command: cms cluster",
    long_description=description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.14",
    # `cloudmesh` itself has no __init__.py: other distributions put their plugins into the same namespace.
    packages=find_namespace_packages(include=["cloudmesh", "cloudmesh.*"]),
    # What runs elsewhere is kept as files below cloudmesh/images, whatever their names end in.
    package_data={"cloudmesh.cluster": ["py.typed"], "cloudmesh.images": ["**/*"]},
    exclude_package_data={"": ["__pycache__/*", "*.pyc"]},
    install_requires=requirements("requirements.txt"),
    extras_require={"dev": requirements("requirements-dev.txt")},
    classifiers=[
        "Environment :: Console",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Topic :: System :: Clustering",
        "Topic :: System :: Distributed Computing",
    ],
)
