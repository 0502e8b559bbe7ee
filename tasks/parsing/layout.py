"""Where LIP's folders and id files lie on a disk.

The official archives unpack to::

    TrainVal_images/{train_images,val_images}/*.jpg          train_id.txt  val_id.txt
    TrainVal_parsing_annotations/{train_segmentations,val_segmentations}/*.png
    Testing_images/testing_images/*.jpg                      test_id.txt

often with a folder or two more in between, and CE2P's family keeps all of it in one folder. So the folders are
searched by their own names, a few levels deep.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...data.image_files import IMAGE_EXTENSIONS, endings, has_extension, left_out
from ...errors import DataError

Split = Literal["train", "val", "test"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
IMAGE_FOLDERS: dict[str, tuple[str, ...]] = {
    "train": ("train_images",),
    "val": ("val_images",),
    "test": ("testing_images", "test_images"),
}
MASK_FOLDERS: dict[str, tuple[str, ...]] = {
    "train": ("train_segmentations",),
    "val": ("val_segmentations",),
    "test": ("testing_segmentations", "test_segmentations"),
}
MASK_EXTENSIONS = (".png",)

MAX_DEPTH = 5
"""LIP/ in a folder, and ``TrainVal_parsing_annotations`` nested three times, is the deepest that was seen."""

MAX_FOLDERS = 10_000
"""A search that meets more folders was pointed at something else, such as a home folder."""

_SHOWN = 5


@dataclass(frozen=True)
class Layout:
    """Where the parts of LIP lie under a folder.

    Args:
        root: the folder that was searched.
        folders: relative path and file names of every folder that is called like one of LIP's.
        id_files: relative paths of the id files.
        seen: relative paths of the first folders that were met, for messages.
    """

    root: Path
    folders: dict[Path, list[str]] = field(default_factory=dict)
    id_files: list[Path] = field(default_factory=list)
    seen: list[Path] = field(default_factory=list)

    @classmethod
    def find(cls, root: str | os.PathLike[str]) -> Layout:
        """Search a folder, at most ``MAX_DEPTH`` levels deep.

        Raises:
            DataError: ``root`` is no folder, cannot be read, or holds more than ``MAX_FOLDERS`` folders.
        """
        layout = cls(Path(root))
        wanted = {name for names in (*IMAGE_FOLDERS.values(), *MASK_FOLDERS.values()) for name in names}
        id_names = {id_file_name(split) for split in SPLITS}
        for relative, files in walk_folders(layout.root):
            if relative.name in wanted:
                layout.folders[relative] = files
            if relative.parts and len(layout.seen) < _SHOWN:
                layout.seen.append(relative)
            layout.id_files.extend(relative / name for name in files if name in id_names)
        return layout

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that have a folder of images."""
        return tuple(split for split in SPLITS if self._candidates(IMAGE_FOLDERS[split], IMAGE_EXTENSIONS))

    def images(self, split: Split) -> Path:
        """Relative path of a split's images.

        Raises:
            DataError: there is none, or there are several.
        """
        names = IMAGE_FOLDERS[split]
        found = self._single(names, IMAGE_EXTENSIONS)
        if found is None:
            raise DataError(
                f"No {split} images in {self.root}.",
                f"Looked for {either(names)} holding {either(IMAGE_EXTENSIONS)} files, up to {MAX_DEPTH} folders deep; "
                f"found {some([f'{path}/' for path in self.seen]) or 'no folders'}.",
            )
        return found

    def masks(self, split: Split) -> Path | None:
        """Relative path of a split's label maps, or None where there is no such folder."""
        found = self._single(MASK_FOLDERS[split], MASK_EXTENSIONS)
        if found is not None:
            return found
        empty = [path for path in self.folders if path.name in MASK_FOLDERS[split]]
        return min(empty, key=_depth, default=None)

    def id_file(self, split: Split) -> Path | None:
        """Relative path of a split's id file, or None.

        Of several the one just above the images is taken, then the one just above the label maps.
        """
        images, masks = self.images(split), self.masks(split)
        found = [path for path in self.id_files if path.name == id_file_name(split)]

        def rank(path: Path) -> tuple[int, int, Path]:
            above_images = path.parent in (images, *images.parents)
            above_masks = masks is not None and path.parent in (masks, *masks.parents)
            return 0 if above_images else 1 if above_masks else 2, -_depth(path), path

        return min(found, key=rank, default=None)

    def _candidates(self, names: Sequence[str], extensions: Sequence[str]) -> list[Path]:
        return [
            path
            for path, files in self.folders.items()
            if path.name in names and any(has_extension(name, extensions) for name in files)
        ]

    def _single(self, names: Sequence[str], extensions: Sequence[str]) -> Path | None:
        """The candidate that is least deep."""
        found = sorted(self._candidates(names, extensions), key=lambda path: (_depth(path), path))
        if len(found) > 1 and _depth(found[0]) == _depth(found[1]):
            raise DataError(
                f"{self.root} holds more than one {either(names)}: {some([f'{path}/' for path in found])}.",
                "Name the folder of one dataset.",
            )
        return found[0] if found else None


def walk_folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders level by level: the path relative to ``root`` and the names of its files.

    Hidden entries and macOS's resource forks are passed over, and so are subfolders that cannot be opened.
    """
    level, visited = [Path()], 0
    for _ in range(MAX_DEPTH + 1):
        below: list[Path] = []
        for relative in level:
            try:
                with os.scandir(root / relative) as entries:
                    listed = [(entry.name, _is_folder(entry)) for entry in entries if not entry.name.startswith(".")]
            except OSError as error:
                if relative.parts:
                    continue
                reason = "does not exist" if isinstance(error, FileNotFoundError) else "cannot be opened as a folder"
                raise DataError(f"{root} {reason}.", "Check the path.") from error
            visited += 1
            if visited > MAX_FOLDERS:
                raise DataError(
                    f"{root} holds more than {MAX_FOLDERS} folders: too many to search for LIP's.",
                    "Name the dataset's own folder.",
                )
            yield relative, [name for name, is_folder in listed if not is_folder]
            below.extend(relative / name for name, is_folder in sorted(listed) if is_folder and name != "__MACOSX")
        level = below


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def id_file_name(split: str) -> str:
    """What a split's id file is called."""
    return f"{split}_id.txt"


def others(names: Sequence[str], extensions: Sequence[str]) -> str:
    """What of a folder's files is left out, for messages: ``2 other files left out (.heic)``."""
    return left_out(endings(name for name in names if not has_extension(name, extensions)))


def _depth(path: Path) -> int:
    return len(path.parts)


def either(names: Sequence[str]) -> str:
    """``a, b or c``, for messages."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def some(names: Sequence[str]) -> str:
    """The first few, for messages."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
