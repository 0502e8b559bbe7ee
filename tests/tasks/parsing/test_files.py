from __future__ import annotations

import struct
import unicodedata
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from trtparse.data.images import write_png
from trtparse.errors import DataError, UsageError
from trtparse.tasks.parsing.files import ImageFolder, LipDataset, open_dataset
from trtparse.tasks.parsing.layout import Layout

IDS = ("100_1", "200_2", "300_3")


def image_of(name: str) -> NDArray[np.uint8]:
    return np.full((12, 8, 3), sum(name.encode()) % 256, np.uint8)


def labels_of(name: str) -> NDArray[np.uint8]:
    return np.full((12, 8), sum(name.encode()) % 20, np.uint8)


def png_part(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def put_images(folder: Path, ids: Iterable[str] = IDS, extension: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ids:
        write_png(folder / f"{name}{extension}", image_of(name))


def put_masks(folder: Path, ids: Iterable[str] = IDS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ids:
        write_png(folder / f"{name}.png", labels_of(name))


def put_ids(path: Path, ids: Iterable[str] = IDS, end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(name + end for name in ids).encode())


def official(root: Path, images: str = "TrainVal_images", masks: str = "TrainVal_parsing_annotations") -> Path:
    put_images(root / images / "val_images")
    put_masks(root / masks / "val_segmentations")
    put_ids(root / images / "val_id.txt")
    return root


def assert_loads(dataset: LipDataset) -> None:
    assert list(dataset.names) == list(IDS)
    assert len(dataset) == 3
    assert dataset.labelled
    for index, name in enumerate(IDS):
        sample = dataset[index]
        assert sample.name == name
        assert sample.labels is not None
        np.testing.assert_array_equal(sample.image, image_of(name))
        np.testing.assert_array_equal(sample.labels, labels_of(name))
        np.testing.assert_array_equal(dataset.labels(index), labels_of(name))
    with pytest.raises(IndexError):
        dataset[3]


class TestLayouts:
    def test_official(self, tmp_path: Path) -> None:
        assert_loads(LipDataset(official(tmp_path)))

    @pytest.mark.parametrize(
        ("images", "masks"),
        [
            ("TrainVal_images/TrainVal_images", "TrainVal_parsing_annotations/TrainVal_parsing_annotations"),
            ("LIP/TrainVal_images", "LIP/TrainVal_parsing_annotations"),
            ("LIP/a/TrainVal_images", "LIP/b/c/TrainVal_parsing_annotations"),
            ("LIP/T/TrainVal_images/TrainVal_images", "LIP/T/P/P"),
        ],
    )
    def test_nested(self, tmp_path: Path, images: str, masks: str) -> None:
        assert_loads(LipDataset(official(tmp_path, images, masks)))

    def test_the_folder_inside_a_folder_of_its_own_name(self, tmp_path: Path) -> None:
        put_images(tmp_path / "val_images" / "val_images")
        put_masks(tmp_path / "val_segmentations" / "val_segmentations")
        put_ids(tmp_path / "val_id.txt")
        assert_loads(LipDataset(tmp_path))

    def test_flat(self, tmp_path: Path) -> None:
        for split in ("train", "val"):
            put_images(tmp_path / f"{split}_images")
            put_masks(tmp_path / f"{split}_segmentations")
            put_ids(tmp_path / f"{split}_id.txt")
        assert_loads(LipDataset(tmp_path, "train"))
        assert_loads(LipDataset(tmp_path, "val"))

    @pytest.mark.parametrize("place", [".", "TrainVal_images", "TrainVal_parsing_annotations", "lists"])
    def test_the_id_file_anywhere(self, tmp_path: Path, place: str) -> None:
        official(tmp_path)
        (tmp_path / "TrainVal_images" / "val_id.txt").unlink()
        put_images(tmp_path / "TrainVal_images" / "val_images", ["999_9"])
        put_ids(tmp_path / place / "val_id.txt")
        assert_loads(LipDataset(tmp_path))

    def test_the_id_file_beside_the_images_before_others(self, tmp_path: Path) -> None:
        official(tmp_path)
        put_ids(tmp_path / "TrainVal_parsing_annotations" / "val_id.txt", ["other"])
        put_ids(tmp_path / "val_id.txt", ["other"])
        assert_loads(LipDataset(tmp_path))

    def test_no_id_file_takes_every_image_and_says_so(self, tmp_path: Path) -> None:
        official(tmp_path)
        (tmp_path / "TrainVal_images" / "val_id.txt").unlink()
        dataset = LipDataset(tmp_path)
        assert_loads(dataset)
        assert "no val_id.txt: every image" in dataset.description

    @pytest.mark.parametrize("extension", [".jpg", ".jpeg", ".JPG", ".jfif", ".webp", ".bmp"])
    def test_every_extension(self, tmp_path: Path, extension: str) -> None:
        official(tmp_path)
        for path in (tmp_path / "TrainVal_images" / "val_images").iterdir():
            path.rename(path.with_suffix(extension))
        assert_loads(LipDataset(tmp_path))

    def test_hidden_files_and_resource_forks_are_no_images(self, tmp_path: Path) -> None:
        official(tmp_path)
        put_images(tmp_path / "__MACOSX" / "TrainVal_images" / "val_images", ["._100_1"])
        (tmp_path / "TrainVal_images" / "val_images" / "._100_1.jpg").touch()
        assert_loads(LipDataset(tmp_path))

    def test_without_masks_it_is_unlabelled(self, tmp_path: Path) -> None:
        put_images(tmp_path / "Testing_images" / "testing_images")
        put_ids(tmp_path / "Testing_images" / "test_id.txt")
        dataset = LipDataset(tmp_path, "test")
        assert not dataset.labelled
        assert dataset[0].labels is None
        assert "without label maps" in dataset.description
        with pytest.raises(DataError, match="no label maps"):
            dataset.labels(0)

    def test_two_datasets_under_one_root_are_named(self, tmp_path: Path) -> None:
        official(tmp_path / "one")
        official(tmp_path / "two")
        with pytest.raises(DataError, match="one/TrainVal_images/val_images/, two/TrainVal_images/val_images/"):
            LipDataset(tmp_path)

    def test_a_deeper_copy_does_not_get_in_the_way(self, tmp_path: Path) -> None:
        official(tmp_path / "backup")
        assert_loads(LipDataset(official(tmp_path)))

    def test_beyond_the_depth_nothing_is_found(self, tmp_path: Path) -> None:
        official(tmp_path / "1" / "2" / "3" / "4")
        with pytest.raises(DataError, match="No val images"):
            LipDataset(tmp_path)


class TestIdFiles:
    @pytest.mark.parametrize("end", ["\n", "\r\n", "  \n", "\t\r\n\r\n", ".jpg\n", ".png\r\n"])
    def test_line_ends_spaces_and_extensions_do_not_matter(self, tmp_path: Path, end: str) -> None:
        official(tmp_path)
        put_ids(tmp_path / "TrainVal_images" / "val_id.txt", IDS, end)
        assert_loads(LipDataset(tmp_path))

    def test_a_byte_order_mark_does_not_matter(self, tmp_path: Path) -> None:
        official(tmp_path)
        put_ids(tmp_path / "TrainVal_images" / "val_id.txt", ["\ufeff" + IDS[0], *IDS[1:]])
        assert_loads(LipDataset(tmp_path))

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
    def test_utf_16_with_its_mark_is_read(self, tmp_path: Path, encoding: str) -> None:
        official(tmp_path)
        text = "\r\n".join(IDS) if encoding == "utf-16" else "\ufeff" + "\r\n".join(IDS)
        (tmp_path / "TrainVal_images" / "val_id.txt").write_bytes(text.encode(encoding))
        assert_loads(LipDataset(tmp_path))

    @pytest.mark.parametrize("forms", ["NFC NFD NFC", "NFD NFC NFC", "NFC NFC NFD", "NFD NFD NFC", "NFD NFC None"])
    def test_accents_are_the_same_whoever_wrote_the_name(self, tmp_path: Path, forms: str) -> None:
        image, mask, listed = forms.split()
        name = "übung_é_1"
        put_images(tmp_path / "val_images", [unicodedata.normalize(image, name)])
        put_masks(tmp_path / "val_segmentations", [unicodedata.normalize(mask, name)])
        if listed != "None":
            put_ids(tmp_path / "val_id.txt", [unicodedata.normalize(listed, name)])
        dataset = LipDataset(tmp_path)
        assert list(dataset.names) == [name]
        assert dataset[0].labels is not None

    def test_the_order_is_that_of_the_file(self, tmp_path: Path) -> None:
        official(tmp_path)
        put_ids(tmp_path / "TrainVal_images" / "val_id.txt", IDS[::-1])
        assert list(LipDataset(tmp_path).names) == list(IDS[::-1])

    @pytest.mark.parametrize("name", ["../100_1", "..", "/etc/passwd", "a/b", "a\\b", "C:b", "val_images/100_1.jpg"])
    def test_paths_are_refused(self, tmp_path: Path, name: str) -> None:
        official(tmp_path)
        put_ids(tmp_path / "TrainVal_images" / "val_id.txt", [IDS[0], name])
        with pytest.raises(DataError, match=r"val_id\.txt, line 2: .* is a path"):
            LipDataset(tmp_path)

    @pytest.mark.parametrize("ids", [[], ["", "  "]])
    def test_an_empty_one_is_an_error(self, tmp_path: Path, ids: list[str]) -> None:
        official(tmp_path)
        put_ids(tmp_path / "TrainVal_images" / "val_id.txt", ids)
        with pytest.raises(DataError, match="names no images"):
            LipDataset(tmp_path)

    def test_an_id_that_comes_twice_is_an_error(self, tmp_path: Path) -> None:
        official(tmp_path)
        put_ids(tmp_path / "TrainVal_images" / "val_id.txt", [*IDS, IDS[0]])
        with pytest.raises(DataError, match=r"line 4: '100_1' was on line 1"):
            LipDataset(tmp_path)

    @pytest.mark.parametrize("data", [b"\x80\x00\xff", "100_1\n".encode("utf-16-le"), b"\xff\xfe\x00"])
    def test_a_binary_one_is_an_error(self, tmp_path: Path, data: bytes) -> None:
        official(tmp_path)
        (tmp_path / "TrainVal_images" / "val_id.txt").write_bytes(data)
        with pytest.raises(DataError, match="as text"):
            LipDataset(tmp_path)


class TestOrientation:
    """Of a photograph that is stored lying, and a label map of one size or the other."""

    @pytest.fixture
    def lying(self, tmp_path: Path) -> Callable[..., LipDataset]:
        def make(orientation: int, size: tuple[int, int] | None, stored: tuple[int, int] = (12, 8)) -> LipDataset:
            pixels = np.zeros((*stored, 3), np.uint8)
            pixels[0, 0] = 255
            part = png_part(b"eXIf", b"MM\x00*\x00\x00\x00\x08" + struct.pack(">HHHIHH", 1, 274, 3, 1, orientation, 0))
            data = bytes(cv2.imencode(".png", pixels)[1])
            (tmp_path / "val_images").mkdir()
            (tmp_path / "val_images" / "a.png").write_bytes(data[:33] + part + data[33:])
            if size is not None:
                (tmp_path / "val_segmentations").mkdir()
                write_png(tmp_path / "val_segmentations" / "a.png", np.zeros(size, np.uint8))
            return LipDataset(tmp_path)

        return make

    def test_it_is_turned_where_only_so_it_fits(self, lying: Callable[..., LipDataset]) -> None:
        image = lying(6, (8, 12))[0].image
        assert image.shape == (8, 12, 3)
        assert image[0, 11].all()

    def test_it_stays_where_only_so_it_fits(self, lying: Callable[..., LipDataset]) -> None:
        image = lying(6, (12, 8))[0].image
        assert image.shape == (12, 8, 3)
        assert image[0, 0].all()

    @pytest.mark.parametrize("orientation", [2, 3, 4])
    def test_exif_is_named_where_it_fits_both_ways(self, lying: Callable[..., LipDataset], orientation: int) -> None:
        with pytest.raises(DataError, match=rf"a\.png has the EXIF orientation {orientation}, and .* fits it both"):
            lying(orientation, (12, 8))[0]

    def test_exif_is_named_where_a_square_fits_both_ways(self, lying: Callable[..., LipDataset]) -> None:
        with pytest.raises(DataError, match="has the EXIF orientation 8"):
            lying(8, (9, 9), (9, 9))[0]

    def test_exif_is_named_where_it_fits_neither_way(self, lying: Callable[..., LipDataset]) -> None:
        with pytest.raises(DataError, match="12x8 pixels, to be turned by its EXIF orientation 6, but its label map"):
            lying(6, (5, 6))[0]

    def test_a_split_without_label_maps_comes_upright(self, lying: Callable[..., LipDataset]) -> None:
        assert lying(6, None)[0].image.shape == (8, 12, 3)


class TestWhatIsLeftOut:
    def test_files_that_are_no_images_or_label_maps_are_counted_with_their_endings(self, tmp_path: Path) -> None:
        official(tmp_path)
        for name in ("a.HEIC", "b.heic", "c.mov", "Thumbs"):
            (tmp_path / "TrainVal_images" / "val_images" / name).touch()
        (tmp_path / "TrainVal_parsing_annotations" / "val_segmentations" / "100_1.bmp").touch()
        description = LipDataset(tmp_path).description
        assert "4 other files left out (.heic, no ending, .mov) of TrainVal_images/val_images/" in description
        assert "1 other file left out (.bmp) of TrainVal_parsing_annotations/val_segmentations/" in description

    def test_a_folder_of_nothing_but_others_says_what_they_are(self, tmp_path: Path) -> None:
        (tmp_path / "a.heic").touch()
        with pytest.raises(DataError, match=r"No images in .*: 1 other file left out \(\.heic\)\."):
            open_dataset(tmp_path)


class TestWhatIsMissing:
    def test_images_are_counted_and_named_at_once(self, tmp_path: Path) -> None:
        official(tmp_path)
        more = [f"9_{number}" for number in range(8)]
        put_ids(tmp_path / "TrainVal_images" / "val_id.txt", [*IDS, *more])
        with pytest.raises(DataError) as caught:
            LipDataset(tmp_path)
        assert "8 of 11 ids of TrainVal_images/val_id.txt have no image" in caught.value.message
        assert "9_0, 9_1, 9_2, 9_3, 9_4 and 3 more" in caught.value.message
        assert ".jpg" in caught.value.hint

    def test_label_maps_are_counted_and_named_at_once(self, tmp_path: Path) -> None:
        official(tmp_path)
        (tmp_path / "TrainVal_parsing_annotations" / "val_segmentations" / "200_2.png").unlink()
        with pytest.raises(DataError, match=r"1 of 3 ids .* have no label map in .*val_segmentations: 200_2"):
            LipDataset(tmp_path)

    def test_an_empty_folder_of_label_maps_is_no_unlabelled_dataset(self, tmp_path: Path) -> None:
        put_images(tmp_path / "val_images")
        (tmp_path / "val_segmentations").mkdir()
        with pytest.raises(DataError, match="3 of 3 images have no label map"):
            LipDataset(tmp_path)

    def test_a_split_is_named_with_what_was_looked_for(self, tmp_path: Path) -> None:
        official(tmp_path)
        with pytest.raises(DataError) as caught:
            LipDataset(tmp_path, "test")
        assert "No test images" in caught.value.message
        assert "testing_images or test_images" in caught.value.hint
        assert "TrainVal_images/" in caught.value.hint

    def test_the_root(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="does not exist"):
            LipDataset(tmp_path / "nowhere")

    def test_an_unknown_split_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no split 'vall'"):
            LipDataset(official(tmp_path), "vall")  # type: ignore[arg-type]

    def test_a_label_map_of_another_size_is_an_error_that_names_both(self, tmp_path: Path) -> None:
        official(tmp_path)
        write_png(
            tmp_path / "TrainVal_parsing_annotations" / "val_segmentations" / "200_2.png", np.zeros((5, 6), np.uint8)
        )
        with pytest.raises(DataError, match=r"200_2\.png is 8x12 pixels, but its label map .* is 6x5"):
            LipDataset(tmp_path)[1]

    def test_two_images_of_one_id_are_an_error(self, tmp_path: Path) -> None:
        official(tmp_path)
        put_images(tmp_path / "TrainVal_images" / "val_images", ["100_1"], ".jpg")
        with pytest.raises(DataError, match=r"both 100_1\.jpg and 100_1\.png"):
            LipDataset(tmp_path)


class TestOpenDataset:
    @pytest.fixture
    def lip(self, tmp_path: Path) -> Path:
        put_images(tmp_path / "train_images")
        put_images(tmp_path / "Testing_images" / "testing_images")
        return official(tmp_path)

    @pytest.mark.parametrize(("purpose", "split"), [("calibration", "train"), ("validation", "val")])
    def test_the_purpose_chooses_the_split(self, lip: Path, purpose: str, split: str) -> None:
        dataset = open_dataset(lip, purpose=purpose)  # type: ignore[arg-type]
        assert isinstance(dataset, LipDataset)
        assert dataset.split == split

    def test_the_next_split_serves_where_the_first_is_missing(self, tmp_path: Path) -> None:
        put_images(tmp_path / "test_images")
        for purpose in ("calibration", "validation"):
            dataset = open_dataset(tmp_path, purpose=purpose)
            assert isinstance(dataset, LipDataset)
            assert dataset.split == "test"

    def test_a_split_can_be_asked_for(self, lip: Path) -> None:
        dataset = open_dataset(lip, "test")
        assert isinstance(dataset, LipDataset)
        assert dataset.split == "test"

    def test_nothing_is_validated_on_training_images_by_itself(self, tmp_path: Path) -> None:
        put_images(tmp_path / "train_images")
        with pytest.raises(DataError, match="only the train split") as caught:
            open_dataset(tmp_path)
        assert "'train'" in caught.value.hint
        assert len(open_dataset(tmp_path, "train")) == 3

    def test_a_plain_folder(self, tmp_path: Path) -> None:
        put_images(tmp_path / "holiday", extension=".jpg")
        (tmp_path / "holiday" / "notes.txt").touch()
        dataset = open_dataset(tmp_path / "holiday")
        assert isinstance(dataset, ImageFolder)
        assert list(dataset.names) == [f"{name}.jpg" for name in IDS]
        assert not dataset.labelled
        assert dataset.description == "holiday/, 3 images without label maps, 1 other file left out (.txt)"
        np.testing.assert_array_equal(dataset[1].image, image_of(IDS[1]))
        with pytest.raises(IndexError):
            dataset[3]
        with pytest.raises(DataError, match="no label map"):
            dataset.labels(0)

    def test_one_image(self, tmp_path: Path) -> None:
        put_images(tmp_path)
        dataset = open_dataset(tmp_path / "200_2.png")
        assert list(dataset.names) == ["200_2.png"]
        np.testing.assert_array_equal(dataset[0].image, image_of("200_2"))

    def test_a_folder_without_images_is_an_error_that_says_what_was_looked_for(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        with pytest.raises(DataError, match="No images") as caught:
            open_dataset(tmp_path)
        for words in (".jpg", "val_images", "sub/"):
            assert words in caught.value.hint

    def test_a_plain_folder_has_no_splits(self, tmp_path: Path) -> None:
        put_images(tmp_path)
        for path in (tmp_path, tmp_path / "100_1.png"):
            with pytest.raises(UsageError, match="no splits"):
                open_dataset(path, "val")

    def test_a_link_to_itself_costs_no_folder_its_images(self, tmp_path: Path) -> None:
        put_images(tmp_path)
        there = open_dataset(tmp_path).names
        (tmp_path / "link").symlink_to("link")
        assert open_dataset(tmp_path).names == there

    def test_a_missing_path(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="does not exist"):
            open_dataset(tmp_path / "nowhere")


def test_opening_looks_at_no_image(tmp_path: Path) -> None:
    names = [f"{number}_0" for number in range(300)]
    images, masks = tmp_path / "train_images", tmp_path / "train_segmentations"
    layout = Layout(tmp_path)
    layout.folders[images.relative_to(tmp_path)] = [f"{name}.jpg" for name in names]
    layout.folders[masks.relative_to(tmp_path)] = [f"{name}.png" for name in names]
    put_ids(tmp_path / "train_id.txt", names)
    layout.id_files.append(Path("train_id.txt"))
    assert not images.exists()
    assert len(LipDataset(tmp_path, "train", layout=layout)) == 300


@pytest.mark.shared
class TestPhotographs:
    def test_lip_val_loads_with_its_labels(self, shared_data: Path) -> None:
        dataset = open_dataset(shared_data / "lip")
        assert (len(dataset), dataset.labelled) == (50, True)
        for index in range(len(dataset)):
            sample = dataset[index]
            assert sample.labels is not None
            assert sample.labels.shape == sample.image.shape[:2]

    def test_lip_test_serves_calibration(self, shared_data: Path) -> None:
        dataset = open_dataset(shared_data / "lip", purpose="calibration")
        assert (len(dataset), dataset.labelled) == (4000, False)
        assert dataset[3999].image.ndim == 3

    def test_another_dataset_in_the_layout_loads(self, shared_data: Path) -> None:
        assert len(open_dataset(shared_data / "ccp20")) == 139
        train = open_dataset(shared_data / "ccp20", purpose="calibration")
        assert len(train) == 795
        assert set(np.unique(train.labels(0))) <= {*range(20), 255}
