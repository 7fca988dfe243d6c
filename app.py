"""Opens a page to generate, reconstruct and translate images: python app.py [ckpt=…] [port=7860] [size_limit_mb=…]."""

from condiff.commands.scripts import app as main

if __name__ == "__main__":
    main()
