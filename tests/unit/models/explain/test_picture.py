import base64
import io

import pytest
from PIL import Image

from models.explain.picture import MAX_SIDE, data_uri, upright


def encoded(image, **options):
    content = io.BytesIO()
    image.save(content, format="PNG", **options)
    return content.getvalue()


def test_transparency_lies_on_white():
    assert upright(encoded(Image.new("RGBA", (2, 2), (255, 0, 0, 0)))).getpixel((0, 0)) == (255, 255, 255)


def test_image_is_set_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    assert upright(encoded(Image.new("L", (4, 2)), exif=exif)).size == (2, 4)


@pytest.mark.parametrize(("size", "shown"), [((8, 8), (8, 8)), ((2 * MAX_SIDE, MAX_SIDE), (MAX_SIDE, MAX_SIDE // 2))])
def test_only_large_images_are_made_smaller(size, shown):
    assert upright(encoded(Image.new("RGB", size))).size == shown


def test_address_holds_the_picture_itself():
    address = data_uri(Image.new("RGB", (3, 2), "red"))
    kind, content = address.split(",")
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (3, 2)
