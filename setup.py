"""Ships conf/ inside the package, as condiff/conf; pyproject.toml has the rest.

An editable install (pip install -e) finds conf/ beside the package. Without the mapping of conf/ setuptools installs a plain
path, which is found before a folder that happens to be named condiff, such as a clone below the current folder.
"""

import sys

from setuptools import find_packages, setup

PACKAGES = find_packages(include=["condiff", "condiff.*"])
EDITABLE = "editable_wheel" in sys.argv

setup(
    packages=PACKAGES if EDITABLE else [*PACKAGES, "condiff.conf"],
    package_dir={"": "."} if EDITABLE else {"condiff.conf": "conf"},
    package_data={"condiff.conf": ["**/*.yaml"], "condiff.data.phantom": ["*.npz"], "condiff": ["weights/*/*", "export/page/*"]},
)
