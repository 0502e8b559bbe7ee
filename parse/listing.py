"""Which images are parsed, what their results are called, and which of them belong to a shard."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, overload

from ..data.image_files import IMAGE_EXTENSIONS, is_image, left_out
from ..errors import DataError, UsageError


class NamedImage(NamedTuple):
    """One image.

    Args:
        path: as the person named it, or below the folder that was named.
        name: of its results: relative to the output folder, without extension, unique in the whole listing.
    """

    path: str
    name: str


class Listing(Sequence[NamedImage]):
    """Images in order, one string each: a million takes some 200 MB.

    Args:
        paths: of the images.
        starts: where in each path the part begins that the results keep, as in ``more/d.jpg``.
        renamed: position to name, where that part was taken already.
        left_out: how many files of the folders were no images, by ending.

    A file that is named may have any ending; from folders those of :mod:`~trtparse.data.image_files` are taken.
    """

    def __init__(
        self, paths: list[str], starts: array[int], renamed: dict[int, str], left_out: Mapping[str, int]
    ) -> None:
        self._paths, self._starts, self._renamed = paths, starts, renamed
        self.left_out = left_out

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> NamedImage: ...
    @overload
    def __getitem__(self, index: slice) -> list[NamedImage]: ...
    def __getitem__(self, index: int | slice) -> NamedImage | list[NamedImage]:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        index = range(len(self))[index]
        path = self._paths[index]
        return NamedImage(path, self._renamed.get(index) or os.path.splitext(path[self._starts[index] :])[0])

    def shard(self, number: int, of: int) -> Listing:
        """One of ``of`` parts: each image is in exactly one, by its name alone, wherever this is called.

        Args:
            number: from 1.
            of: how many there are.
        """
        if not 1 <= number <= of:
            raise UsageError(f"There is no shard {number} of {of}.", f"Give a number from 1 to {of}.")
        mine = [index for index, image in enumerate(self) if _shard_of(image.name, of) == number]
        renamed = {new: self._renamed[old] for new, old in enumerate(mine) if old in self._renamed}
        starts = array("L", (self._starts[old] for old in mine))
        return Listing([self._paths[old] for old in mine], starts, renamed, self.left_out)


def _shard_of(name: str, of: int) -> int:
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") % of + 1


@dataclass
class Naming:
    """Collects images and gives each a name of its own, also where capitals do not count.

    Of two images with one stem the second becomes ``<stem>-2``, in the order of the listing.
    """

    _paths: list[str] = field(default_factory=list)
    _starts: array[int] = field(default_factory=lambda: array("L"))
    _renamed: dict[int, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _last: dict[str, int] = field(default_factory=dict)
    _others: dict[str, int] = field(default_factory=dict)

    def leave_out(self, name: str) -> None:
        """Count a file of a folder that is no image."""
        ending = os.path.splitext(name)[1].lower()
        self._others[ending] = self._others.get(ending, 0) + 1

    def add(self, path: str, start: int) -> None:
        """Add an image; its results keep ``path[start:]``."""
        stem = os.path.splitext(path[start:])[0]
        name, key = stem, stem.casefold()
        if key in self._taken:
            number = self._last.get(key, 1)
            while name.casefold() in self._taken:
                number += 1
                name = f"{stem}-{number}"
            self._last[key] = number
            self._renamed[len(self._paths)] = name
        self._taken.add(name.casefold())
        self._paths.append(path)
        self._starts.append(start)

    def holds(self, name: str) -> bool:
        """Whether an image's results are called so."""
        return name.casefold() in self._taken

    def folders(self) -> set[str]:
        """Where below the output folder the results go."""
        return {os.path.dirname(path[start:]) for path, start in zip(self._paths, self._starts)}

    def listing(self, asked: Sequence[str]) -> Listing:
        """All of them.

        Raises:
            DataError: there are none.
        """
        if not self._paths:
            where = ", ".join(asked) or "the empty list"
            told = left_out(self._others)
            raise DataError(
                f"There are no images in {where}{f': {told}' if told else ''}.",
                f"Images end in {', '.join(IMAGE_EXTENSIONS)}.",
            )
        return Listing(self._paths, self._starts, self._renamed, self._others)


def list_images(paths: Sequence[Path], output: Path | None = None, *, recursive: bool = False) -> Listing:
    """The images that ``paths`` name: files as they are, folders by their images; each once.

    Folders are taken in the order of their names, the images of each before its subfolders. A subfolder that is a
    link is followed once, after all others, and its target is not visited again: links in a circle do no harm.

    Args:
        paths: files and folders.
        output: where results will go; it is no input, wherever it lies.
        recursive: take subfolders as well; the results keep their layout.

    Raises:
        DataError: a path does not exist, a folder cannot be opened, or there is no image at all.
        UsageError: a result would replace an image, or lie among the images of a folder.
    """
    search = _Search(recursive, None if output is None else os.path.realpath(output))
    for path in paths:
        # pathlib raises where a name is longer than a name may be, or a folder above is closed to us.
        if os.path.isdir(path):
            search.folder(str(path))
        elif os.path.exists(path):
            search.file(str(path))
        else:
            raise DataError(f"There is no file {path}.", "Check the path for typing mistakes.")
    if output is not None:
        _check_results(search, output)
    return search.naming.listing([str(path) for path in paths])


class _Search:
    """Looks through folders.

    Attributes:
        naming: the images so far.
        visited: folders, links resolved, to what they were called.
        single: images that were named or linked, by resolved folder and name.
    """

    def __init__(self, recursive: bool, output: str | None) -> None:
        self._recursive, self._output = recursive, output
        self.naming = Naming()
        self.visited: dict[str, str] = {}
        self.single: dict[str, set[str]] = {}

    def file(self, path: str, start: int | None = None) -> None:
        """A file that was named, or is a link."""
        folder, name = os.path.split(os.path.realpath(path))
        listed = folder in self.visited and is_image(name)
        if not listed and name not in self.single.setdefault(folder, set()):
            self.single[folder].add(name)
            self.naming.add(path, len(path) - len(os.path.basename(path)) if start is None else start)

    def folder(self, root: str) -> None:
        """A folder that was named."""
        start = 0 if root == "." else len(os.path.join(root, ""))
        links = [root]
        while links:
            waiting = [links.pop(0)]
            while waiting:
                folder = waiting.pop()
                folders, linked = self._images(folder, start, named=folder is root)
                waiting.extend(reversed(folders))
                links.extend(linked)

    def _images(self, folder: str, start: int, *, named: bool) -> tuple[list[str], list[str]]:
        """Take a folder's images; returns its subfolders, and those that are links."""
        real = os.path.realpath(folder)
        if real in self.visited or (real == self._output and not named):
            return [], []
        self.visited[real] = folder
        with _opened(folder) as entries:
            found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
        folders: list[str] = []
        links: list[str] = []
        for entry in found:
            path = entry.name if folder == "." else os.path.join(folder, entry.name)
            if is_image(entry.name) and _leads_to(entry.is_file):
                if entry.is_symlink():
                    self.file(path, start)
                elif entry.name not in self.single.get(real, ()):
                    self.naming.add(path, start)
            elif self._recursive and _leads_to(entry.is_dir):
                (links if entry.is_symlink() else folders).append(path)
            elif _leads_to(entry.is_file):
                self.naming.leave_out(entry.name)
        return folders, links


def _opened(folder: str) -> os._ScandirIterator[str]:
    try:
        return os.scandir(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be opened: {error.strerror}.", "Check its permissions.") from error


def _leads_to(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link to itself
        return False


def _check_results(search: _Search, output: Path) -> None:
    """See that no result takes an image's place, and that the next run will not take results for images."""
    for folder in sorted(search.naming.folders()):
        place = os.path.realpath(output / folder)
        if place in search.visited:
            raise UsageError(
                f"The results would go among the images of {search.visited[place]}.", "Choose another output folder."
            )
        for name in search.single.get(place, ()):
            stem = os.path.join(folder, name.removesuffix(".png").removesuffix("_overlay.jpg"))
            if name.endswith((".png", "_overlay.jpg")) and search.naming.holds(stem):
                image = output / folder / name
                raise UsageError(f"The result for {name} would replace {image}.", "Choose another output folder.")


def image_files(names: Iterable[str]) -> list[str]:
    """Those of relative paths that are images, in the order in which :func:`list_images` would take them."""
    parts = (name.split("/") for name in names)
    kept = [path for path in parts if is_image(path[-1]) and not any(part.startswith(".") for part in path)]
    kept.sort(key=lambda path: [(1, part) for part in path[:-1]] + [(0, path[-1])])
    return ["/".join(path) for path in kept]
