"""The page: its tabs, its look, and the server, which only this machine can reach."""

import time
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from condiff.app.evaluate_tab import evaluate_tab
from condiff.app.generate_tab import generate_tab
from condiff.app.models import Models
from condiff.app.reconstruct_tab import reconstruct_tab
from condiff.app.translate_tab import translate_tab
from condiff.errors import InputError

HOST = "127.0.0.1"
NAMES = [HOST, "localhost"]  # of this machine; a page elsewhere cannot read this one under a name of its own
POLICY = "; ".join(  # what the browser may load: nothing from another machine
    f"{kind} 'self' {more}".strip()
    for kind, more in {
        "default-src": "",
        "script-src": "'unsafe-inline' 'unsafe-eval'",
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "font-src": "data:",
        "worker-src": "blob:",
        "frame-ancestors": "",
        "form-action": "",
        "base-uri": "",
    }.items()
)
MINUTES = 60
KEEP = (10 * MINUTES, 60 * MINUTES)  # seconds: how often old files are deleted, and how old they are
THEME = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"], radius_size="sm")
CSS = """
.pictures {display: flex; flex-wrap: wrap; gap: 12px; background: #000; border-radius: 6px; padding: 12px}
.pictures {justify-content: center}
.pictures figure {margin: 0; flex: 1 1 200px; max-width: 384px}
.pictures.n1 figure {max-width: 512px}
.pictures img {width: 100%; display: block}
.pictures figcaption {color: #ddd; text-align: center; font-size: 13px; padding-top: 4px}
table.numbers {border: 0 !important; border-collapse: collapse; font-size: 14px; margin: 4px 0 12px}
table.numbers th, table.numbers td {border: 0 !important; padding: 5px 18px 5px 0 !important; text-align: left}
table.numbers tr {border: 0; border-bottom: 1px solid var(--border-color-primary)}
.note {font-size: 14px}
footer {display: none !important}
"""
ABOUT = "Images of a model are synthetic, and reconstructions are estimates: do not use them for diagnosis."


class LocalPolicy:
    """Adds the header that forbids the browser to load anything from another machine."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, send_with_policy)


def build(models: Models, folder: Path, size_limit_mb: int) -> gr.Blocks:
    """Returns the page.

    Args:
        folder: for the files of downloads.
        size_limit_mb: of an uploaded file, which the page names.
    """
    with gr.Blocks(title="condiff", analytics_enabled=False, delete_cache=KEEP) as page:
        limit = f"Uploads: at most {size_limit_mb} MB (`size_limit_mb=`)."
        gr.Markdown(f"## condiff\nModel: `{models.default}`. {limit} {ABOUT}")
        with gr.Tab("Generate"):
            generate_tab(models[models.default], folder, page)
        with gr.Tab("Reconstruct"):
            reconstruct_tab(models, folder)
        with gr.Tab("Translate"):
            translate_tab(models[models.default], folder)
        with gr.Tab("Evaluate"):
            evaluate_tab(models[models.default], page)
    return page


def serve(page: gr.Blocks, port: int, size_limit_mb: int) -> None:
    """Opens the page to this machine until the program is interrupted. Raises InputError if the port is taken."""
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=NAMES), Middleware(LocalPolicy)]
    try:
        page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            max_file_size=f"{size_limit_mb}mb",
            app_kwargs={"middleware": middleware},
            theme=THEME,
            css=CSS,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            mcp_server=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError:
        raise InputError(f"port={port}: cannot be opened, or is in use; give another, port={port + 1}") from None
    print(f"page        http://{HOST}:{port} (this machine only; Ctrl-C ends it and deletes uploads)", flush=True)
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        page.close(verbose=False)
