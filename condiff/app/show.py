"""Pictures, tables and errors of the page."""

import base64
import functools
import html
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from condiff.errors import InputError, is_memory

SIDE = 384  # pixels that a picture is enlarged to, at least


def pictures(images: Sequence[tuple[str, np.ndarray]]) -> str:
    """Returns HTML with captioned magnitudes [H, W] whose white is 1, front of the head up; no file is written."""
    return _figures([(title, "image/png", _png(image)) for title, image in images])


def animation(title: str, path: Path) -> str:
    """Returns HTML with a captioned GIF file."""
    return _figures([(title, "image/gif", path.read_bytes())])


def enlarged(image: np.ndarray) -> Image.Image:
    """Returns a magnitude [H, W] as a picture, front of the head up, at least `SIDE` pixels high."""
    gray = Image.fromarray((np.clip(np.nan_to_num(image[::-1]), 0, 1) * 255).round().astype(np.uint8))
    factor = max(1, -(-SIDE // gray.height))
    return gray.resize((gray.width * factor, gray.height * factor), Image.Resampling.BICUBIC)


def _png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    enlarged(image).save(content, "PNG")
    return content.getvalue()


def _figures(images: Sequence[tuple[str, str, bytes]]) -> str:
    figures = (
        f'<figure><img alt="{html.escape(title)}" src="data:{kind};base64,{base64.b64encode(content).decode()}">'
        f"<figcaption>{html.escape(title)}</figcaption></figure>"
        for title, kind, content in images
    )
    return f'<div class="pictures n{len(images)}">{"".join(figures)}</div>'


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns an HTML table."""
    cells = [[html.escape(cell) for cell in row] for row in (heading, *rows)]
    head = "".join(f"<th>{cell}</th>" for cell in cells[0])
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells[1:])
    return f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def notes(lines: Sequence[str]) -> str:
    """Returns HTML with a paragraph per line."""
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)


def outcome(tab: str) -> tuple[gr.HTML, gr.HTML, gr.State, gr.Button, gr.File]:
    """Adds what a tab shows of its result: images, a note, the result itself, and its files to download."""
    shown = gr.HTML(elem_id=f"{tab}-images")
    note, result = gr.HTML(elem_classes="note", elem_id=f"{tab}-note"), gr.State()
    files = gr.Button("Make files to download", visible=False, elem_id=f"{tab}-save")
    return shown, note, result, files, gr.File(label="Files", visible=False, interactive=False, elem_id=f"{tab}-files")


def one_line_errors(handle: Callable[..., Any]) -> Callable[..., Any]:
    """Returns an event handler that shows invalid input as one line in the page, without a traceback.

    Paths of uploaded files are cut to their names.
    """

    @functools.wraps(handle)
    def handler(*values: Any, **named: Any) -> Any:
        try:
            return handle(*values, **named)
        except InputError as error:
            message = str(error)
        except (MemoryError, RuntimeError) as error:
            if not is_memory(error):
                raise
            message = "memory is too small for this; choose fewer images or samples, or a smaller file"
        for value in values:
            if isinstance(value, str) and "/" in value:
                message = message.replace(value, Path(value).name)
        raise gr.Error(html.escape(message, quote=False), duration=20, title="Cannot do this", print_exception=False)

    return handler


def events(name: str = "model", **settings: Any) -> Mapping[str, Any]:
    """Returns settings of an event that evaluates a model: one at a time, and no entry in a list of programming interfaces."""
    return {"api_visibility": "private", "concurrency_limit": 1, "concurrency_id": name, **settings}
