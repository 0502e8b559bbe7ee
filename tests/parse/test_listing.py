from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.errors import DataError, UsageError
from trtparse.parse.listing import Listing, Naming, image_files, list_images


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(listing: Listing) -> list[str]:
    return [image.name for image in listing]


def named(paths: list[str]) -> Listing:
    naming = Naming()
    for path in paths:
        naming.add(path, 0)
    return naming.listing(paths)


def test_a_folder_gives_its_images_in_the_order_of_their_names_and_subfolders_only_when_asked(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a.png", "notes.txt", ".hidden.png", "z/c.bmp", "m/n/d.webp", "m/e.jpeg", ".git/f.png")
    assert names(list_images([tmp_path])) == ["a", "b"]
    listing = list_images([tmp_path], recursive=True)
    assert names(listing) == ["a", "b", "m/e", "m/n/d", "z/c"]
    assert [image.path for image in listing][-1] == str(tmp_path / "z" / "c.bmp")


def test_what_a_folder_holds_besides_is_counted_by_ending_and_hidden_files_are_not(tmp_path: Path) -> None:
    touch(tmp_path, "a.jfif", "b.TIF", "c.gif", "d.avif", "e.HEIC", "f.heic", "notes", ".g.heic", "m/h.mov", "m/i.png")
    assert list_images([tmp_path]).left_out == {".heic": 2, "": 1}
    listing = list_images([tmp_path], recursive=True)
    assert names(listing) == ["a", "b", "c", "d", "m/i"]
    assert listing.left_out == listing.shard(1, 2).left_out == {".heic": 2, "": 1, ".mov": 1}
    touch(tmp_path, "only/a.heic")
    with pytest.raises(DataError, match=r"There are no images in .*only: 1 other file left out \(\.heic\)\."):
        list_images([tmp_path / "only"])


def test_the_folder_one_is_in_gives_plain_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(touch(tmp_path, "a.png", "m/b.png"))
    listing = list_images([Path(".")], Path("out"), recursive=True)
    assert list(listing) == [("a.png", "a"), (os.path.join("m", "b.png"), "m/b")]


def test_an_image_that_is_reached_in_several_ways_is_listed_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png", "m/c.png")
    (tmp_path / "link.png").symlink_to("b.png")
    (tmp_path / "m" / "d.png").symlink_to(tmp_path / "a.png")
    assert names(list_images([tmp_path / "b.png", tmp_path], recursive=True)) == ["b", "a", "m/c"]
    assert names(list_images([tmp_path, tmp_path / "b.png", tmp_path / "m" / ".."])) == ["a", "b"]
    assert names(list_images([tmp_path / "m", tmp_path])) == ["c", "d", "b"]


def test_links_in_a_circle_end_and_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    photos = touch(tmp_path / "photos", "a.png", "m/b.png")
    (photos / "m" / "up").symlink_to("..")
    (photos / "itself").symlink_to("itself")
    (photos / "itself.png").symlink_to("itself.png")
    (photos / "gone.png").symlink_to("nowhere.png")
    (photos / "aaa").symlink_to(touch(tmp_path / "elsewhere", "c.png"))
    (tmp_path / "elsewhere" / "back").symlink_to(photos)
    assert names(list_images([photos], recursive=True)) == ["a", "m/b", "aaa/c"]


def test_an_output_folder_inside_the_input_is_no_input(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "parsed/a.png", "parsed/m/x.png", "m/b.png")
    assert names(list_images([tmp_path], tmp_path / "parsed", recursive=True)) == ["a", "m/b"]


def test_results_do_not_go_among_images(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "m/b.jpg")
    with pytest.raises(UsageError, match="would go among the images of"):
        list_images([tmp_path], tmp_path)
    with pytest.raises(UsageError, match="would go among the images of"):
        list_images([tmp_path, tmp_path / "m"], tmp_path / "m" / "..", recursive=True)
    for name in ("a.png", "a_overlay.jpg"):
        touch(tmp_path, name)
        with pytest.raises(UsageError, match=f"would replace .*{name}"):
            list_images([tmp_path / "a.jpg", tmp_path / name], tmp_path)
    assert names(list_images([tmp_path / "m"], tmp_path)) == ["b"]


def test_what_is_not_there_or_cannot_be_opened_is_an_error_and_so_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"There is no file .*missing\.jpg"):
        list_images([tmp_path / "missing.jpg"])
    with pytest.raises(DataError, match=r"There is no file .*xx\.jpg"):
        list_images([tmp_path / f"{'x' * 300}.jpg"])
    with pytest.raises(DataError, match="There are no images in"):
        list_images([tmp_path])
    touch(tmp_path, "a.png", "m/b.png")
    opened = os.scandir

    def refuse(path: str) -> os._ScandirIterator[str]:
        if path.endswith("m"):
            raise PermissionError(13, "Permission denied")
        return opened(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="m cannot be opened: Permission denied"):
        list_images([tmp_path], recursive=True)


STEMS = st.lists(st.sampled_from(["a", "A", "b", "a-2", "A-3", "m/a", "M/a", "m/a-2"]), min_size=1, max_size=30)
ENDS = st.sampled_from([".png", ".jpg", ".JPG", ".bmp"])


@given(STEMS.flatmap(lambda stems: st.tuples(*(ENDS.map(lambda end, stem=stem: stem + end) for stem in stems))))
def test_no_two_images_have_results_of_one_name_even_where_capitals_do_not_count(paths: tuple[str, ...]) -> None:
    listing = named(list(paths))
    assert len({name.casefold() for name in names(listing)}) == len(paths)
    assert names(listing)[0] == os.path.splitext(paths[0])[0]


@given(paths=st.lists(st.text("abA/-2", min_size=1, max_size=4), min_size=1, max_size=40), of=st.integers(1, 9))
def test_shards_together_are_exactly_the_whole_under_the_same_names(paths: list[str], of: int) -> None:
    whole = named(paths)
    shards = [whole.shard(number, of) for number in range(1, of + 1)]
    assert sorted(image for shard in shards for image in shard) == sorted(whole)
    for shard in shards:
        positions = [list(whole).index(image) for image in shard]
        assert positions == sorted(positions)


def test_an_image_stays_in_its_shard_when_others_come_or_go() -> None:
    many = named([f"{number}.png" for number in range(400)])
    few = named([f"{number}.png" for number in range(0, 400, 7)])
    sizes = []
    for number in range(1, 5):
        assert set(few.shard(number, 4)) <= set(many.shard(number, 4))
        sizes.append(len(many.shard(number, 4)))
    assert min(sizes) > 60


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (-1, 2), (1, 0)])
def test_a_shard_that_does_not_exist_is_refused(shard: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=r"There is no shard"):
        named(["a.png"]).shard(*shard)


def test_many_images_with_one_stem_are_named_without_searching_from_the_start() -> None:
    listing = named(["frame.png"] * 20_000)
    assert listing[19_999].name == "frame-20000"


PARTS = st.lists(st.sampled_from(["a", "b", "B", "c.png", "d.jpg", "e.txt", ".f"]), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(st.lists(PARTS.map("/".join), unique=True, max_size=12))
def test_a_listing_of_texts_has_the_order_of_a_listing_of_the_disk(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    made = []
    for path in paths:
        if not any(other != path and (other.startswith(f"{path}/") or path.startswith(f"{other}/")) for other in paths):
            touch(root, path)
            made.append(path)
    try:
        expected = [os.path.relpath(image.path, root) for image in list_images([root], recursive=True)]
    except DataError:
        expected = []
    assert image_files(made) == expected
