"""Which task a recipe is of."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError


def task_of(name: str) -> str:
    """The task of a recipe, by its name or its file: ``parsing``, ``pose`` or ``people``.

    Raises:
        UsageError: there is no such recipe, it is no TOML, or it is of another task.
    """
    from ..distillation.people.recipe import shipped_people
    from ..distillation.pose.recipe import shipped_pose
    from ..distillation.recipe import read_recipe, shipped

    tasks = {"parsing": shipped(), "pose": shipped_pose(), "people": shipped_people()}
    for task, recipes in tasks.items():
        if name in recipes:
            return task
    if not Path(name).exists():
        known = ", ".join(name for recipes in tasks.values() for name in recipes)
        raise UsageError(f"There is no recipe {name}.", f"Name a TOML file, or one of those that come along: {known}.")
    task = read_recipe(Path(name)).get("task", "parsing")
    if task not in tasks:
        raise UsageError(f"{name} is a recipe of the task {task!r}.", f"There are {', '.join(tasks)}.")
    return str(task)
