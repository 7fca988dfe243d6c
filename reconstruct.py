"""Reconstruct accelerated scans: python reconstruct.py [ckpt=…] [data.root=DIR] [method=dds] [acceleration=4] [samples=16]."""

from condiff.commands.scripts import reconstruct as main

if __name__ == "__main__":
    main()
