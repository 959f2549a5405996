"""Puts the folder data/ into the wheel, as persongen_lib/shipped; all else about the package is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithData(build_py):
    """Copies the modules, and for a wheel also the data; an editable installation finds it in the repository."""

    def run(self):
        """Copy all of it."""
        super().run()
        if not self.editable_mode:
            self.copy_tree("data", str(Path(self.build_lib, "persongen_lib", "shipped")))


setup(cmdclass={"build_py": BuildWithData})
