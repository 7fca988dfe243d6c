"""Pictures: grids of images as PNG, animations as GIF.

Images here are magnitudes [N, H, W] whose white is 1. Rows of fastMRI's arrays run from the back of the head to the front;
pictures are drawn with the front at the top.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

TILE = 128  # smaller images are enlarged to about this many pixels
MARGIN, GAP, HEADING = 84, 14, 20


def tiles(images: Tensor) -> Image.Image:
    """Magnitudes [N, H, W] side by side, front of the head at the top."""
    strip = torch.cat(list(images.detach().float().cpu().flip(-2)), dim=1)
    factor = max(1, round(TILE / images.shape[-2]))
    picture = Image.fromarray((strip.clamp(0, 1) * 255).round().byte().numpy())
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)


def grid(columns: Mapping[str, Mapping[str, Tensor]]) -> Image.Image:
    """Blocks of tiles under headings, a labelled row each: {heading: {label: magnitudes [N, H, W]}}.

    The labels of the first column name the rows; another column may lack some.
    """
    labels = list(next(iter(columns.values())))
    blocks = {heading: {label: tiles(rows[label]) for label in rows if len(rows[label])} for heading, rows in columns.items()}
    blocks = {heading: rows for heading, rows in blocks.items() if rows}
    height = max(tile.height for rows in blocks.values() for tile in rows.values())
    font = ImageFont.load_default(size=13)
    widths = {
        heading: max(int(font.getlength(heading)) + 4, *(tile.width for tile in rows.values()))
        for heading, rows in blocks.items()
    }
    canvas = Image.new("L", (MARGIN + sum(widths.values()) + GAP * (len(widths) - 1), HEADING + height * len(labels)))
    draw, left = ImageDraw.Draw(canvas), MARGIN
    for row, label in enumerate(labels):
        draw.text((6, HEADING + row * height + height // 2 - 8), label, fill=255, font=font)
    for heading, rows in blocks.items():
        draw.text((left + 2, 2), heading, fill=255, font=font)
        for label, tile in rows.items():
            canvas.paste(tile, (left, HEADING + labels.index(label) * height))
        left += widths[heading] + GAP
    return canvas


def save_gif(path: Path, frames: Sequence[Image.Image], seconds: float = 4.0, hold: float = 2.0) -> None:
    """An endless animation of ``seconds``, the last frame held for ``hold`` more."""
    duration = [max(20, round(1000 * seconds / len(frames)))] * (len(frames) - 1) + [round(1000 * hold)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=duration, loop=0)
