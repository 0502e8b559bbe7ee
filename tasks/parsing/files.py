"""LIP on disk, in its official layout and the variants found in the wild, and plain folders of images.

Other datasets brought into LIP's layout load as well, whatever their classes are; :mod:`.layout` says what is looked
for where.
"""

from __future__ import annotations

import codecs
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ...data.dataset import Image, LabelMap, Sample
from ...data.image_files import IMAGE_EXTENSIONS, has_extension
from ...data.image_header import orientation
from ...data.images import decode_image, read_bytes, read_image, read_label_map
from ...errors import DataError, UsageError
from ...specs.label_set import LabelSet, label_set
from .layout import (
    IMAGE_FOLDERS,
    MASK_EXTENSIONS,
    MASK_FOLDERS,
    MAX_DEPTH,
    SPLITS,
    Layout,
    Split,
    either,
    id_file_name,
    others,
    some,
    walk_folders,
)

__all__ = ["SPLITS", "SPLITS_FOR", "ImageFolder", "LipDataset", "Purpose", "Split", "open_dataset"]

Purpose = Literal["validation", "calibration"]

SPLITS_FOR: dict[str, tuple[Split, ...]] = {"calibration": ("train", "test", "val"), "validation": ("val", "test")}
"""Which split serves a purpose, best first. Nothing is validated on training images unless it is asked for."""


class LipDataset:
    """One split of LIP, or of a dataset in its layout.

    Everything is checked by listing folders when the dataset is opened; files are read when they are asked for.

    Args:
        root: the folder that holds the split, at any of the usual depths.
        split: ``train``, ``val`` or ``test``.
        layout: what :meth:`Layout.find` found in ``root``, where that is known already.
        labels: what the ids of its label maps mean; LIP's where not given.

    Attributes:
        label_set: the same.
        left_out: what else is in its folders, in words; mostly empty.

    Raises:
        DataError: the folder, an image or a label map is missing; the id file is empty or names something else
            than files of these folders. The message says how many and which.
        UsageError: there is no split of that name.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: Split = "val",
        *,
        layout: Layout | None = None,
        labels: LabelSet | None = None,
    ) -> None:
        if split not in SPLITS:
            raise UsageError(f"There is no split {split!r}.", f"LIP has {either(SPLITS)}.")
        layout = Layout.find(root) if layout is None else layout
        self.root, self.split = layout.root, split
        self.label_set = label_set("lip") if labels is None else labels
        images, masks, id_file = layout.images(split), layout.masks(split), layout.id_file(split)
        files = _by_stem(layout, images, IMAGE_EXTENSIONS)
        ids = sorted(files) if id_file is None else _read_ids(self.root, id_file)
        what = "images" if id_file is None else f"ids of {id_file}"
        self._names = tuple(ids)
        self._images = _resolve(self.root / images, ids, files, f"{what} have no image", IMAGE_EXTENSIONS)
        self._masks: tuple[Path, ...] | None = None
        if masks is not None:
            maps = _by_stem(layout, masks, MASK_EXTENSIONS)
            self._masks = _resolve(self.root / masks, ids, maps, f"{what} have no label map", MASK_EXTENSIONS)
        self._notes = [] if id_file else [f"no {id_file_name(split)}: every image of {images}/"]
        looked_in = [(images, IMAGE_EXTENSIONS)] + ([] if masks is None else [(masks, MASK_EXTENSIONS)])
        found = [(others(layout.folders[folder], extensions), folder) for folder, extensions in looked_in]
        self.left_out = ", ".join(f"{told} of {folder}/" for told, folder in found if told)

    @property
    def description(self) -> str:
        labels = "with label maps" if self.labelled else "without label maps"
        parts = [f"{_folder_name(self.root)}/ in LIP's layout", self.split, f"{len(self)} images {labels}"]
        return ", ".join(parts + self._notes + ([self.left_out] if self.left_out else []))

    @property
    def names(self) -> Sequence[str]:
        return self._names

    @property
    def labelled(self) -> bool:
        return self._masks is not None

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        """The sample at ``index``; see :class:`~trtparse.data.dataset.Dataset`.

        Raises:
            DataError: a file cannot be read, image and label map differ in size, or nothing tells whether the
                label map was drawn on the image as it is stored or on the upright one.
            IndexError: ``index`` is past the end.
        """
        if self._masks is None:
            return Sample(self._names[index], read_image(self._images[index], upright=True), None)
        labels = read_label_map(self._masks[index])
        return Sample(self._names[index], _image_under(labels, self._images[index], self._masks[index]), labels)

    def labels(self, index: int) -> LabelMap:
        """The label map at ``index``.

        Raises:
            DataError: the split has no label maps, or this one cannot be read.
        """
        if self._masks is None:
            raise DataError(
                f"The {self.split} split in {self.root} has no label maps.",
                f"Looked for a folder {either(MASK_FOLDERS[self.split])}.",
            )
        return read_label_map(self._masks[index])


class ImageFolder:
    """The images of one folder, or a single image; no label maps.

    Photographs are turned as their EXIF orientation says. Subfolders are not searched.

    Attributes:
        label_set: what ids would mean; LIP's where not given.
        left_out: what else is in the folder, in words; mostly empty.

    Raises:
        DataError: ``path`` does not exist or holds no images.
    """

    labelled = False
    left_out = ""

    def __init__(self, path: str | os.PathLike[str], labels: LabelSet | None = None) -> None:
        self.path = Path(path)
        self.label_set = label_set("lip") if labels is None else labels
        self._names: tuple[str, ...]
        if self.path.is_file():
            self._folder, self._names = self.path.parent, (self.path.name,)
            self._described = f"{self.path.name}, 1 image without label map"
            return
        _, files = next(walk_folders(self.path))
        self._folder = self.path
        self._names = tuple(sorted(name for name in files if has_extension(name, IMAGE_EXTENSIONS)))
        self.left_out = others(files, IMAGE_EXTENSIONS)
        if not self._names:
            raise DataError(
                f"No images in {self.path}{f': {self.left_out}' if self.left_out else ''}.",
                f"Looked for {either(IMAGE_EXTENSIONS)} files in the folder itself, and not in its subfolders.",
            )
        self._described = f"{_folder_name(self.path)}/, {len(self._names)} images without label maps"
        self._described += f", {self.left_out}" if self.left_out else ""

    @property
    def description(self) -> str:
        return self._described

    @property
    def names(self) -> Sequence[str]:
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        """The sample at ``index``; see :class:`~trtparse.data.dataset.Dataset`."""
        return Sample(self._names[index], read_image(self._folder / self._names[index], upright=True), None)

    def labels(self, index: int) -> LabelMap:
        """Never there.

        Raises:
            DataError: always.
        """
        raise DataError(f"{self._folder / self._names[index]} has no label map.", "Use a dataset in LIP's layout.")


def open_dataset(
    path: str | os.PathLike[str],
    split: Split | None = None,
    *,
    purpose: Purpose = "validation",
    labels: LabelSet | None = None,
) -> LipDataset | ImageFolder:
    """Open whatever images are at ``path``.

    Args:
        path: LIP in any of its layouts, a folder of images, or one image.
        split: the split of LIP; chosen by ``purpose`` where not given.
        purpose: ``calibration`` takes the first split there is of train, test and val; ``validation`` of val
            and test.
        labels: what the ids of its label maps mean; LIP's where not given.

    Returns:
        A :class:`LipDataset` where LIP's folders are found, otherwise an :class:`ImageFolder`.

    Raises:
        DataError: there is nothing of the kind, or not the split that is needed.
    """
    path = Path(path)
    if path.is_file():
        _refuse_split(split, path)
        return ImageFolder(path, labels)
    layout = Layout.find(path)
    if split is not None and (layout.folders or split not in SPLITS):
        return LipDataset(path, split, layout=layout, labels=labels)
    for candidate in SPLITS_FOR[purpose]:
        if candidate in layout.splits:
            return LipDataset(path, candidate, layout=layout, labels=labels)
    if layout.splits:
        wanted = either(SPLITS_FOR[purpose])
        raise DataError(
            f"{path} has only the {either(layout.splits)} split of LIP, and {purpose} wants {wanted}.",
            f"To use it all the same, ask for the split {layout.splits[0]!r}.",
        )
    try:
        folder = ImageFolder(path, labels)
    except DataError as error:
        names = [name for candidate in SPLITS for name in IMAGE_FOLDERS[candidate]]
        raise DataError(
            error.message,
            f"Looked for {either(IMAGE_EXTENSIONS)} files in the folder itself, and for LIP's folders {either(names)}, "
            f"up to {MAX_DEPTH} levels deep; found {some([f'{p}/' for p in layout.seen]) or 'no folders'}.",
        ) from error
    _refuse_split(split, path)
    return folder


def _refuse_split(split: str | None, path: Path) -> None:
    if split is not None:
        raise UsageError(f"{path} has no splits, so there is no {split!r} in it.", "Leave the split out.")


def _by_stem(layout: Layout, folder: Path, extensions: Sequence[str]) -> dict[str, str]:
    """File names of one kind in a folder, by their names without extension, letters and accents composed."""
    found: dict[str, str] = {}
    for name in sorted(layout.folders[folder]):
        if has_extension(name, extensions):
            stem = _composed(name.rpartition(".")[0])
            if stem in found:
                raise DataError(
                    f"{layout.root / folder} holds both {found[stem]} and {name}.", "Keep one file for every id."
                )
            found[stem] = name
    return found


def _resolve(
    folder: Path, ids: Sequence[str], files: dict[str, str], problem: str, extensions: Sequence[str]
) -> tuple[Path, ...]:
    """The file of every id.

    Raises:
        DataError: some have none.
    """
    missing = [name for name in ids if name not in files]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(ids)} {problem} in {folder}: {some(missing)}.",
            f"Looked for the id with {either(extensions)}.",
        )
    return tuple(folder / files[name] for name in ids)


def _read_ids(root: Path, id_file: Path) -> list[str]:
    """The ids of an id file: one a line; spaces, empty lines and a file's extension are dropped.

    Raises:
        DataError: it cannot be read, holds no id, names an id twice, or names a path.
    """
    path = root / id_file
    try:
        data = path.read_bytes()
        # PowerShell's > writes UTF-16
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text.", "Write one id per line, in UTF-8.") from error
    if "\0" in text:
        raise DataError(f"{path} cannot be read as text.", "Write one id per line, in UTF-8.")
    lines = _composed(text).splitlines()
    ids: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name:
            continue
        if has_extension(name, IMAGE_EXTENSIONS):
            name = name.rpartition(".")[0]
        if name in (".", "..") or any(sign in name for sign in "/\\:"):
            raise DataError(
                f"{path}, line {number}: {name!r} is a path, not an id.",
                "An id is the name of an image without its folder and extension.",
            )
        if name in ids:
            raise DataError(f"{path}, line {number}: {name!r} was on line {ids[name]} already.", "Name every id once.")
        ids[name] = number
    if not ids:
        raise DataError(f"{path} names no images.", "Write one id per line, or delete the file to use every image.")
    return list(ids)


def _image_under(labels: LabelMap, path: Path, label_path: Path) -> Image:
    """The image as its label map was drawn: as stored, or upright where only that has the label map's size."""
    data = read_bytes(path)
    turn = orientation(data)
    told = f", to be turned by its EXIF orientation {turn}" if turn > 1 else ""
    image = decode_image(data, path, upright=turn > 1)
    if turn > 1:
        upright = image.shape[:2]
        stored = upright[::-1] if turn >= 5 else upright
        if stored == upright == labels.shape:
            raise DataError(
                f"{path} has the EXIF orientation {turn}, and {label_path} fits it both as stored and upright.",
                "Turn the pixels as the label map shows them, and remove the orientation (exiftool -Orientation=).",
            )
        if stored == labels.shape:
            image = decode_image(data, path)
    if image.shape[:2] != labels.shape:
        raise DataError(
            f"{path} is {_size(image.shape)} pixels{told}, but its label map {label_path} is {_size(labels.shape)}.",
            "Use label maps of the size of their images.",
        )
    return image


def _composed(text: str) -> str:
    """Letters with their accents in one: macOS takes names apart, and others do not."""
    return unicodedata.normalize("NFC", text)


def _folder_name(path: Path) -> str:
    return path.resolve().name or str(path)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
