"""Ships conf/ inside the package, as condiff/conf; pyproject.toml has the rest."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["condiff", "condiff.*"]), "condiff.conf"],
    package_dir={"condiff.conf": "conf"},
    package_data={"condiff.conf": ["**/*.yaml"], "condiff.data.phantom": ["*.npz"]},
)
