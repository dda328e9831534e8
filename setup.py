"""What pyproject.toml cannot say: the top-level recipes/ directory goes into the wheel as hvdtrain/_recipes."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RECIPES = Path("recipes")


class BuildWithRecipes(build_py):
    """Copies recipes/**/*.yaml beside the package's own modules."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # there, the code finds recipes/ in the checkout itself
            for source, target in self._recipes().items():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *map(str, self._recipes().values())]

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *map(str, self._recipes())]  # what an sdist must hold

    def _recipes(self) -> dict[Path, Path]:
        target = Path(self.build_lib) / "hvdtrain" / "_recipes"
        return {path: target / path.relative_to(RECIPES) for path in sorted(RECIPES.rglob("*.yaml"))}


setup(cmdclass={"build_py": BuildWithRecipes})
