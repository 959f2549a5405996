import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, features
from profiles import ADOBE_RGB, DISPLAY_P3, in_srgb, press, profile

from persongen_lib.data import UnreadablePicture, read_picture
from persongen_lib.data.opening import FORMATS, MOST_PIXELS

COLOR = (200, 40, 90)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n"


def save(path, mode="RGB", color=COLOR, size=(40, 20), **options):
    Image.new(mode, size, color).save(path, **options)
    return path


def color_of(path):
    picture = read_picture(path)
    assert picture.mode == "RGB"
    return np.array(picture.getpixel((5, 5)), float)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, depth, color_type, lines):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("0.jfif", {"format": "JPEG", "quality": 95}),
        ("0.JPG", {"quality": 95}),
        ("0.gif", {}),
        ("0.tif", {"compression": "tiff_lzw"}),
        ("0.tiff", {}),
        ("0.webp", {"lossless": True}),
        ("0.bmp", {}),
        ("0.avif", {"quality": 95}),
        ("0.png", {"format": "JPEG", "quality": 95}),
    ],
)
def test_formats_are_read_whatever_the_name_says(tmp_path, name, options):
    assert features.check("avif")
    assert np.abs(color_of(save(tmp_path / name, **options)) - COLOR).max() <= 3


@pytest.mark.parametrize("content", ["PPM", "ICO", "PDF", "TGA", "PCX", "text"])
def test_other_formats_are_refused_whatever_the_name_says(tmp_path, content):
    path = tmp_path / "1.png"
    if content == "text":
        path.write_text("a text")
    else:
        save(path, format=content)
    with pytest.raises(UnreadablePicture, match=r"1\.png can't be read: replace or remove it"):
        read_picture(path)


def test_postscript_is_not_run(tmp_path, monkeypatch):
    """The program gs of this test leaves a file when it is started, as Pillow does for an EPS by itself."""
    gs, ran = tmp_path / "bin" / "gs", tmp_path / "ran"
    gs.parent.mkdir()
    gs.write_text(f"#!/bin/sh\ntouch {ran}\nexit 1\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{gs.parent}:/usr/bin:/bin")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    path = tmp_path / "1.png"
    path.write_bytes(EPS)
    with pytest.raises(UnreadablePicture, match=r"1\.png can't be read: replace or remove it"):
        read_picture(path)
    assert not ran.exists() and "EPS" not in FORMATS
    with pytest.raises(Exception, match="gs|non-zero"), Image.open(path) as image:
        image.load()
    assert ran.exists()


@pytest.mark.parametrize("most", [None, 10**12])
def test_bombs_are_refused_before_they_are_decoded(tmp_path, monkeypatch, most):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    bombs = {
        "0.png": png(30_000, 30_000, 8, 0, b""),
        "1.gif": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08",
        "2.bmp": b"BM"
        + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 20_000, 20_000, 1, 24, 0, 0, 0, 0, 0, 0),
    }
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadablePicture, match=rf"{name} \(more than 178 megapixels\) can't be read"):
            read_picture(tmp_path / name)
    assert MOST_PIXELS < 20_000**2


def test_16_bits_per_channel(tmp_path):
    line = b"\0" + struct.pack(">3H", *(value * 257 for value in COLOR)) * 40
    (tmp_path / "0.png").write_bytes(png(40, 20, 16, 2, line * 20))
    assert tuple(color_of(tmp_path / "0.png")) == COLOR
    assert tuple(color_of(save(tmp_path / "1.tif", "I;16", 200 * 257))) == (200,) * 3


@pytest.mark.parametrize(("mode", "color"), [("F", 0.5), ("I", 70_000)])
def test_pixels_of_32_bits_are_refused(tmp_path, mode, color):
    with pytest.raises(UnreadablePicture, match=r"0\.tif \(pixels of 32 bits\) can't be read"):
        read_picture(save(tmp_path / "0.tif", mode, color))


def test_cmyk(tmp_path):
    for name in ("0.tif", "1.jpg"):
        path = save(tmp_path / name, "CMYK", (0, 255, 255, 0), **({"quality": 95} if name == "1.jpg" else {}))
        assert np.abs(color_of(path) - (255, 0, 0)).max() <= 3


def test_a_picture_of_nothing_is_refused(tmp_path):
    with pytest.raises(UnreadablePicture, match=r"0\.png \(fully transparent\) can't be read"):
        read_picture(save(tmp_path / "0.png", "RGBA", (*COLOR, 0)))


@pytest.mark.parametrize("suffix", ["tif", "avif"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientation_of_other_formats(tmp_path, suffix, orientation):
    upright = Image.new("RGB", (64, 32), "white")
    upright.paste("red", (0, 0, 32, 16))
    stored = upright.transpose(Image.Transpose({3: 3, 6: 2, 8: 4}[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"0.{suffix}", exif=exif, quality=95)
    picture = read_picture(tmp_path / f"0.{suffix}")
    assert picture.size == (64, 32) and np.abs(np.subtract(picture, upright, dtype=int)).mean() < 6


@pytest.mark.parametrize("matrix", [ADOBE_RGB, DISPLAY_P3])
@pytest.mark.parametrize("color", [(200, 120, 90), (60, 140, 70), (250, 30, 40), (128, 128, 128)])
def test_profiles_are_converted_to_srgb(tmp_path, matrix, color):
    right = in_srgb(color, matrix)
    for name, options in (
        ("0.png", {}),
        ("1.tif", {}),
        ("2.webp", {"lossless": True}),
        ("3.jpg", {"quality": 100}),
    ):
        path = save(tmp_path / name, color=color, icc_profile=profile(matrix=matrix), **options)
        assert np.abs(color_of(path) - right).max() <= (4 if name == "3.jpg" else 2)
    if len(set(color)) > 1:
        assert np.abs(right - color).max() > 6


def test_profiles_of_palettes_grays_and_transparent_pictures(tmp_path):
    color, adobe = (60, 140, 70), profile(matrix=ADOBE_RGB)
    right = in_srgb(color, ADOBE_RGB)
    palette = Image.new("RGB", (40, 20), color).quantize(4)
    palette.save(tmp_path / "0.png", icc_profile=adobe)
    assert np.abs(color_of(tmp_path / "0.png") - right).max() <= 2
    assert (
        np.abs(color_of(save(tmp_path / "1.png", "RGBA", (*color, 255), icc_profile=adobe)) - right).max()
        <= 2
    )
    half = Image.new("RGBA", (40, 20), (*color, 255))
    half.paste((0, 0, 0, 0), (20, 0, 40, 20))
    half.save(tmp_path / "2.png", icc_profile=adobe)
    assert np.abs(color_of(tmp_path / "2.png") - right).max() <= 2
    assert read_picture(tmp_path / "2.png").getpixel((30, 5)) == (255,) * 3
    linear = profile("GRAY", gamma=1.0)
    for name, mode, gray in (("3.png", "L", 128), ("4.png", "LA", (128, 255)), ("5.png", "I;16", 128 * 257)):
        assert np.abs(color_of(save(tmp_path / name, mode, gray, icc_profile=linear)) - 188).max() <= 1


def test_profiles_of_presses(tmp_path):
    """A lightness of 50 is the gray 119 of sRGB."""
    for name, options in (("0.tif", {}), ("1.jpg", {"quality": 95})):
        path = save(tmp_path / name, "CMYK", (0, 255, 255, 0), icc_profile=press(50), **options)
        assert np.abs(color_of(path) - 119).max() <= 3
        path = save(tmp_path / name, "CMYK", (0, 0, 0, 0), icc_profile=press(50), **options)
        assert np.abs(color_of(path) - 255).max() <= 3


def test_the_profile_of_srgb_changes_nothing(tmp_path, recwarn):
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert tuple(color_of(save(tmp_path / "0.png", icc_profile=srgb))) == COLOR and not recwarn


@pytest.mark.parametrize(
    ("mode", "color", "broken"),
    [
        ("RGB", COLOR, b"nothing"),
        ("RGB", COLOR, profile(matrix=ADOBE_RGB)[:200]),
        ("RGB", COLOR, profile("GRAY")),
        ("CMYK", (0, 255, 255, 0), profile(matrix=ADOBE_RGB)),
    ],
)
def test_broken_profiles_are_said_and_ignored(tmp_path, mode, color, broken):
    path = save(tmp_path / "0.tif", mode, color, icc_profile=broken)
    with pytest.warns(
        UserWarning, match=r"the color profile of .*0\.tif can't be used: its colors are taken as"
    ):
        assert tuple(color_of(path)) == (COLOR if mode == "RGB" else (255, 0, 0))
