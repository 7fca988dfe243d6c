"""Write a model as a folder to give away: python export.py out=FOLDER [ckpt=…] [format=onnx] [dtype=float16]."""

from condiff.commands.scripts import export as main

if __name__ == "__main__":
    main()
